"""The code on the pages that are no notebooks runs, top to bottom, and says what neural-tangents says."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

CHAPTERS = Path(__file__).parents[1] / "chapters"


@pytest.fixture(autouse=True)
def promotions():
    """As a reader runs them: with JAX's silent promotions."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def run(page):
    namespace = {}
    for block in re.findall(r"```python\n(.*?)```", (CHAPTERS / page).read_text(), re.DOTALL):
        exec(compile(block, page, "exec"), namespace)
    return namespace


def test_the_tasks_of_neural_tangents_have_their_numbers():
    """Printed by the other column of the page, with neural-tangents 0.6.5 on JAX 0.4.25 in double precision."""
    ours = run("from-neural-tangents.md")
    assert_close(ours["kernels_test"].ntk[0, :3], [-1.53512286, -0.98207051, -0.7790469], atol=1e-8)
    assert_close(ours["mean"][:3, 0], [0.79134695, 1.25589882, -0.71826959], atol=1e-8)
    assert_close(np.diag(ours["cov"])[:3], [0.35500407, 0.41474491, 0.42976164], atol=1e-8)
    assert_close(ours["posterior"].mean[:3, 0], [1.30405392, 1.8364604, -1.16005539], atol=1e-8)
    assert ours["empirical"].shape == (5, 20, 1, 1)
    assert_close(ours["apply_lin"](ours["params"], ours["x"]), ours["f0"], atol=0)
    assert 0 < jnp.abs(ours["f_test"] - ours["f_test_by_steps"]).max() < 0.1


def test_the_advice_on_troubles_runs():
    assert run("troubleshooting.md")["largest"] > 0
