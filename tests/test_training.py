"""One compiled training loop against one Python step after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close

import widelinear as wl


@pytest.fixture
def problem(key):
    net = wl.mlp(depth=1, width=8, activation=wl.erf, w_std=1.5, b_std=0.1)
    x = jax.random.normal(key, (6, 4), jnp.float64)
    y = jnp.sign(x[:, :1])
    return net.apply, net.init(jax.random.fold_in(key, 1), x), x, y


def run(problem, **options):
    apply, params, x, y = problem
    settings = {
        "optimizer": optax.sgd(0.5),
        "steps": [0, 3, 20],
        "record": lambda p: {"outputs": apply(p, x), "loss": wl.mse_loss(apply(p, x), y)},
    }
    return wl.train(apply, params, x, y, **(settings | options))


def test_it_is_gradient_descent(problem):
    apply, params, x, y = problem
    history = run(problem)
    for row, steps in enumerate([0, 3, 20]):
        rate = wl.from_mean_loss(0.5, y)
        expected = wl.oracles.gradient_descent(apply, params, x, y, learning_rate=rate, steps=steps)
        assert_close(history.records["outputs"][row], apply(expected, x), rtol=1e-11)


def test_the_loss_is_half_the_mean_over_examples_and_outputs():
    assert float(wl.mse_loss(jnp.full((4, 3), 2.0), jnp.zeros((4, 3)))) == 2.0


def test_recording_more_often_changes_nothing(problem):
    often, seldom = run(problem, steps=np.arange(21)), run(problem, steps=[20])
    assert_close(often.records["outputs"][-1], seldom.records["outputs"][-1], atol=0)


def test_momentum_is_carried_from_one_record_to_the_next(problem):
    optimizer = optax.sgd(0.1, momentum=0.9)
    often, seldom = (run(problem, optimizer=optimizer, steps=steps) for steps in (np.arange(21), [20]))
    apply, params, x, y = problem
    velocity = jax.tree.map(jnp.zeros_like, params)
    for _ in range(20):
        gradient = jax.grad(lambda p: wl.mse_loss(apply(p, x), y))(params)
        velocity = jax.tree.map(lambda v, g: 0.9 * v + g, velocity, gradient)
        params = jax.tree.map(lambda p, v: p - 0.1 * v, params, velocity)
    for history in (often, seldom):
        assert_close(history.records["outputs"][-1], apply(params, x), rtol=1e-11)


def test_the_final_parameters_are_those_of_the_last_record(problem):
    apply, _, x, _ = problem
    history = run(problem)
    assert_close(apply(history.params, x), history.records["outputs"][-1], rtol=1e-14)


def test_any_optimizer_can_train(problem):
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam mixes integers and floats
        history = run(problem, optimizer=optax.adam(0.01), steps=[0, 50])
    assert history.records["loss"][1] < history.records["loss"][0]


def test_divergence_is_reported_with_its_step(problem):
    with pytest.raises(FloatingPointError, match="at step 400 one is not: training has diverged"):
        run(problem, optimizer=optax.sgd(1e4), steps=[0, 400])


@pytest.mark.parametrize("steps", [[], [3, 3], [5, 2], [-1, 4]])
def test_steps_that_do_not_increase_are_refused(problem, steps):
    with pytest.raises(ValueError, match="increasing"):
        run(problem, steps=steps)


def test_log_spaced_steps_start_at_zero_and_end_at_the_last():
    steps = wl.log_spaced_steps(100, per_octave=3)
    assert steps[0] == 0
    assert steps[-1] == 100
    assert (np.diff(steps) > 0).all()
    assert wl.log_spaced_steps(1).tolist() == [0, 1]
