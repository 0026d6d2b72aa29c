"""A run that is killed goes on bit for bit; another run is refused."""

import os
import signal
import subprocess
import sys
import time

import jax.numpy as jnp
import numpy as np
import optax
import pytest

import widelinear as wl

SCRIPT = """
import sys, jax, jax.numpy as jnp, optax, widelinear as wl
net = wl.mlp(depth=2, width=64, activation=wl.erf)
x = jax.random.normal(jax.random.key(0), (32, 16))
y = jnp.sign(x[:, :1])
history = wl.train(net.apply, net.init(jax.random.key(1), x), x, y, optimizer=optax.sgd(1e-3, momentum=0.9),
                   batch_size=8, key=jax.random.key(2), steps=[0, 10, 1000, 20000],
                   record=lambda p: {"f": net.apply(p, x)},
                   checkpoint=sys.argv[1] if len(sys.argv) > 1 else None, save_every=0.0)
print(history.records["f"].tobytes().hex())
"""


def script(*arguments):
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def saved_beyond(step, folder):
    """Whether a whole checkpoint is there; the folders of unfinished ones have longer names."""
    return any(path.name.isdigit() and int(path.name) > step for path in folder.glob("*"))


def test_a_killed_run_goes_on_bit_for_bit_with_the_same_batches(tmp_path):
    undisturbed, _ = script().communicate(timeout=120)
    folder = tmp_path / "run"
    killed = script(str(folder))
    deadline = time.monotonic() + 60
    while not saved_beyond(10, folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    output, _ = killed.communicate(timeout=60)
    assert output == "", "the run had ended before it was killed: nothing was tested"
    resumed, errors = script(str(folder)).communicate(timeout=120)
    assert resumed == undisturbed, errors


def linear_run(folder, learning_rate=0.1, start=0.0):
    x, y = jnp.eye(2), jnp.ones((2, 1))
    return wl.train(
        lambda params, x: x @ params,
        jnp.full((2, 1), start),
        x,
        y,
        optimizer=optax.sgd(learning_rate),
        steps=[0, 5],
        record=lambda params: params,
        checkpoint=folder,
    )


def test_a_finished_run_is_returned_again(tmp_path):
    first, again = linear_run(tmp_path / "run"), linear_run(tmp_path / "run")
    assert np.array_equal(first.records, again.records)
    assert np.array_equal(first.params, again.params)


@pytest.mark.parametrize("change", [{"learning_rate": 0.2}, {"start": 1.0}])
def test_the_checkpoint_of_another_run_is_refused(tmp_path, change):
    linear_run(tmp_path / "run")
    with pytest.raises(ValueError, match="made with other settings"):
        linear_run(tmp_path / "run", **change)
