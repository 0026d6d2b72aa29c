"""Closed forms against everything they are closed forms of."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import assert_close

import widelinear as wl


@pytest.fixture
def problem(key):
    """A positive definite kernel with eigenvalues over three decades, and a residual with two outputs."""
    basis, _ = jnp.linalg.qr(jax.random.normal(key, (6, 6), jnp.float64))
    ntk = basis @ jnp.diag(jnp.logspace(-2, 1, 6)) @ basis.T
    return (ntk + ntk.T) / 2, jax.random.normal(jax.random.fold_in(key, 1), (6, 2), jnp.float64)


def test_flow_is_the_matrix_exponential(problem):
    ntk, residual = problem
    for time in (0.03, 1.0, 40.0):
        learnt = residual - scipy.linalg.expm(-np.asarray(ntk) * time) @ residual
        assert_close(ntk @ wl.dual_coefficients(ntk, residual, time), learnt, rtol=1e-10, atol=1e-10)


def test_flow_solves_its_differential_equation(problem):
    ntk, residual = problem

    def predicted(time):
        return ntk @ wl.dual_coefficients(ntk, residual, time)

    time = jnp.asarray(0.7)
    outputs, velocity = jax.jvp(predicted, (time,), (jnp.ones_like(time),))
    assert_close(velocity, ntk @ (residual - outputs), rtol=1e-10, atol=1e-10)


def test_training_longer_composes(problem):
    ntk, residual = problem
    after_2 = residual - ntk @ wl.dual_coefficients(ntk, residual, 2.0)
    after_5 = residual - ntk @ wl.dual_coefficients(ntk, residual, 5.0)
    assert_close(after_2 - ntk @ wl.dual_coefficients(ntk, after_2, 3.0), after_5, atol=1e-12)


def test_nothing_is_learnt_at_time_zero_and_everything_at_infinity(problem):
    ntk, residual = problem
    start, end = wl.dual_coefficients(ntk, residual, jnp.array([0.0, jnp.inf]))
    assert_close(start, np.zeros((6, 2)), atol=0)
    assert_close(ntk @ end, residual, atol=1e-11)


@pytest.mark.parametrize("learning_rate", [1e-6, 0.05, 0.15, 0.25])  # the last is beyond 2 / λ_max = 0.2
def test_gd_is_the_matrix_power(problem, learning_rate):
    ntk, residual = problem
    for steps in (0, 1, 2, 7, 30):
        remaining = np.linalg.matrix_power(np.eye(6) - learning_rate * np.asarray(ntk), steps) @ residual
        predicted = ntk @ wl.dual_coefficients_gd(ntk, residual, learning_rate, steps)
        assert_close(predicted, residual - remaining, rtol=1e-10, atol=1e-11)


def test_small_steps_approach_the_flow(problem):
    ntk, residual = problem
    flow = wl.dual_coefficients(ntk, residual, 2.0)
    gaps = [float(jnp.abs(wl.dual_coefficients_gd(ntk, residual, 2.0 / n, n) - flow).max()) for n in (1000, 2000)]
    assert 1.9 < gaps[0] / gaps[1] < 2.1


def test_a_direction_without_rate_gets_the_limit(problem):
    _, residual = problem
    zero = jnp.zeros((6, 6))
    assert_close(wl.dual_coefficients(zero, residual, 3.0), 3 * residual, rtol=1e-14)
    assert_close(wl.dual_coefficients_gd(zero, residual, 0.1, 30), 3 * residual, rtol=1e-14)
    assert bool(jnp.isfinite(wl.dual_coefficients(zero, residual, jnp.inf)).all())


def test_many_times_are_one_time_each(problem):
    ntk, residual = problem
    times = jnp.array([[0.1, 1.0, 2.0], [3.0, 4.0, 50.0]])
    together = wl.dual_coefficients(ntk, residual, times)
    assert together.shape == (2, 3, 6, 2)
    assert_close(together[1, 2], wl.dual_coefficients(ntk, residual, 50.0), rtol=1e-12)


def test_it_works_inside_jit_and_grad(problem):
    ntk, residual = problem
    gradient = jax.jit(jax.grad(lambda k: jnp.sum(wl.dual_coefficients(k, residual, 1.0) ** 2)))(ntk)
    assert bool(jnp.isfinite(gradient).all())


def test_a_matrix_that_is_no_kernel_is_refused(problem):
    ntk, residual = problem
    with pytest.raises(ValueError, match="positive semidefinite, but its smallest eigenvalue is -"):
        wl.dual_coefficients(ntk - jnp.eye(6), residual, 1.0)
    with pytest.raises(ValueError, match="NaN"):
        wl.dual_coefficients(ntk.at[0, 0].set(jnp.nan), residual, 1.0)


@pytest.fixture
def network(key):
    net = wl.mlp(depth=2, width=32, outputs=2, activation=wl.erf, w_std=1.5, b_std=0.1)
    x, x_test = (jax.random.normal(k, (n, 4), jnp.float64) for k, n in zip(jax.random.split(key), (6, 3), strict=True))
    y = jax.random.normal(jax.random.fold_in(key, 5), (6, 2), jnp.float64)
    return net.apply, net.init(jax.random.fold_in(key, 6), x), x, y, x_test


def flat(kernel):
    """(n1, n2, k, k) → (n1 k, n2 k): inputs and outputs together."""
    n1, n2, k, _ = kernel.shape
    return kernel.transpose(0, 2, 1, 3).reshape(n1 * k, n2 * k)


def test_gd_closed_form_is_gradient_descent_on_the_linearized_network(network):
    # T1: ties nets, linearize, empirical and dynamics together, in function and in weight space.
    apply, params0, x, y, x_test = network
    rate, steps = 0.02, 40
    trained = wl.oracles.gradient_descent(wl.linearize(apply, params0), params0, x, y, learning_rate=rate, steps=steps)
    residual = (y - apply(params0, x)).reshape(-1, 1)
    coefficients = wl.dual_coefficients_gd(flat(wl.empirical_ntk(apply, params0, x)), residual, rate, steps)
    for points in (x, x_test):
        predicted = apply(params0, points) + (flat(wl.empirical_ntk(apply, params0, points, x)) @ coefficients).reshape(
            -1, 2
        )
        assert_close(wl.linearize(apply, params0)(trained, points), predicted, atol=1e-11)
    change = wl.weight_change(apply, params0, x, coefficients.reshape(-1, 2))
    for moved, start, predicted in zip(*map(jax.tree.leaves, (trained, params0, change)), strict=True):
        assert_close(moved - start, predicted, atol=1e-11)


def test_from_mean_loss_is_the_factor_between_the_two_gradients(network):
    apply, params0, x, y, _ = network
    rate = 0.3
    mean = jax.grad(lambda p: wl.mse_loss(apply(p, x), y))(params0)
    one_step = wl.oracles.gradient_descent(apply, params0, x, y, learning_rate=wl.from_mean_loss(rate, y), steps=1)
    for moved, start, gradient in zip(*map(jax.tree.leaves, (one_step, params0, mean)), strict=True):
        assert_close(moved, start - rate * gradient, rtol=1e-12, atol=1e-14)
