"""An ensemble trained at once against its members trained one by one."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import Unhashable, assert_close

import widelinear as wl

X = jnp.asarray(np.random.default_rng(0).normal(size=(4, 3)))
Y = jnp.sign(X[:, :1])
NET = wl.mlp(depth=1, width=8, activation=wl.erf)


def ensemble(members, **options):
    settings = {"optimizer": optax.sgd(0.3, momentum=0.9), "steps": [1, 4, 9], "record": lambda p: NET.apply(p, X)}
    return wl.train_ensemble(NET.init, NET.apply, jax.random.key(0), members, X, Y, **(settings | options))


@pytest.fixture(scope="module")
def trained():
    return ensemble(3)


def test_members_train_as_they_do_alone(trained):
    assert trained.records.shape == (3, 3, 4, 1)
    for number in range(2):
        params = NET.init(jax.random.fold_in(jax.random.key(0), number), X)
        optimizer, steps = optax.sgd(0.3, momentum=0.9), [1, 4, 9]
        alone = wl.train(NET.apply, params, X, Y, optimizer=optimizer, steps=steps, record=lambda p: NET.apply(p, X))
        assert_close(trained.records[:, number], alone.records, rtol=1e-11)


def test_the_kernels_are_those_of_the_networks_that_are_trained():
    kernels = wl.ensemble_ntk(NET.init, NET.apply, jax.random.key(0), 3, X, X[:2])
    assert kernels.shape == (3, 4, 2, 1, 1)
    start, after = ensemble(3, optimizer=optax.sgd(1e-6), steps=[0, 1]).records
    for number in range(3):
        params = NET.init(jax.random.fold_in(jax.random.key(0), number), X)
        assert_close(kernels[number], wl.oracles.jacobian_ntk(NET.apply, params, X, X[:2]), rtol=1e-12)
    full = wl.ensemble_ntk(NET.init, NET.apply, jax.random.key(0), 3, X, outputs=0)
    step = -1e-6 * jnp.einsum("aij,ajk->aik", full, start - Y[None]) / len(X)  # the mean loss
    assert_close(after - start, step, rtol=1e-4, atol=1e-12)


def test_members_differ(trained):
    assert np.ptp(trained.records[-1], axis=0).max() > 1e-3


def test_neither_blocks_nor_their_number_change_a_member(trained):
    assert_close(ensemble(5, batch_size=2).records[:, :3], trained.records, rtol=1e-12)


def test_a_setting_around_the_call_holds_for_every_member():
    # JAX keeps such settings for each thread.
    with jax.threefry_partitionable(False):
        drawn = ensemble(3, steps=[0]).records[0]
        for number in range(3):
            params = NET.init(jax.random.fold_in(jax.random.key(0), number), X)
            assert_close(drawn[number], NET.apply(params, X), rtol=1e-12)
    assert np.abs(drawn - ensemble(3, steps=[0]).records[0]).max() > 1e-3


def test_a_second_ensemble_of_the_same_functions_is_not_compiled_again():
    traced, record = [], lambda p: NET.apply(p, X)

    def loss(outputs, y):
        traced.append(1)
        return wl.mse_loss(outputs, y)

    optimizer = optax.sgd(0.3)
    ensemble(1, loss=loss, record=record, optimizer=optimizer)
    once = len(traced)
    ensemble(3, loss=loss, record=record, optimizer=optimizer)
    assert len(traced) == once


def test_functions_without_a_hash_do(trained):
    options = {"record": Unhashable(lambda p: NET.apply(p, X)), "loss": Unhashable(wl.mse_loss)}
    assert_close(ensemble(3, **options).records, trained.records, atol=0)
    by_another_init = wl.train_ensemble(
        Unhashable(NET.init), NET.apply, jax.random.key(0), 3, X, Y, optimizer=optax.sgd(0.3), steps=[0], **options
    )
    assert_close(by_another_init.records, ensemble(3, steps=[0]).records, atol=0)


def test_divergence_names_the_step_and_the_member():
    with pytest.raises(FloatingPointError, match="at step 4000 that of member 0 is not"):
        ensemble(2, optimizer=optax.sgd(1e4), steps=[1, 4000])


def test_an_empty_ensemble_is_refused():
    with pytest.raises(ValueError, match="at least 1, but came 0"):
        ensemble(0)


def test_a_killed_run_goes_on_after_its_last_finished_block(tmp_path, trained):
    ensemble(2, checkpoint=tmp_path)  # as if it had been killed after two members
    (tmp_path / "unfinished-members-from-2.npz").write_text("killed while writing")
    first = tmp_path / "members-from-0.npz"
    written = first.stat().st_mtime_ns
    assert_close(ensemble(3, checkpoint=tmp_path).records, trained.records, rtol=0)
    assert first.stat().st_mtime_ns == written


def test_a_checkpoint_of_other_settings_is_refused(tmp_path):
    ensemble(1, checkpoint=tmp_path)
    with pytest.raises(ValueError, match="must be of this run"):
        ensemble(1, checkpoint=tmp_path, optimizer=optax.sgd(0.2))
    with pytest.raises(ValueError, match="must be of this run"):
        ensemble(1, checkpoint=tmp_path, steps=[1, 4, 10])
