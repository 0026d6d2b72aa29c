"""Closed forms against everything they are closed forms of."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import assert_close, relative_gap

import widelinear as wl

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "neural_tangents.npz"


@pytest.fixture(scope="module")
def problem():
    """A positive definite kernel with eigenvalues over three decades, and a residual with two outputs."""
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((6, 6)))
    ntk = basis @ np.diag(np.logspace(-2, 1, 6)) @ basis.T
    return jnp.asarray((ntk + ntk.T) / 2), jnp.asarray(rng.standard_normal((6, 2)))


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
        predicted = ntk @ wl.dual_coefficients(ntk, residual, steps, wl.GradientDescent(learning_rate))
        assert_close(predicted, residual - remaining, rtol=1e-10, atol=1e-11)


def test_small_steps_approach_the_flow(problem):
    ntk, residual = problem
    flow = wl.dual_coefficients(ntk, residual, 2.0)
    gaps = [
        float(jnp.abs(wl.dual_coefficients(ntk, residual, n, wl.GradientDescent(2.0 / n)) - flow).max())
        for n in (1000, 2000)
    ]
    assert 1.9 < gaps[0] / gaps[1] < 2.1


def test_a_direction_without_rate_gets_the_limit(problem):
    _, residual = problem
    zero = jnp.zeros((6, 6))
    assert_close(wl.dual_coefficients(zero, residual, 3.0), 3 * residual, rtol=1e-14)
    assert_close(wl.dual_coefficients(zero, residual, 30, wl.GradientDescent(0.1)), 3 * residual, rtol=1e-14)
    assert bool(jnp.isfinite(wl.dual_coefficients(zero, residual, jnp.inf)).all())


def test_many_times_are_one_time_each(problem):
    ntk, residual = problem
    times = jnp.array([[0.1, 1.0, 2.0], [3.0, 4.0, 50.0]])
    together = wl.dual_coefficients(ntk, residual, times)
    assert together.shape == (2, 3, 6, 2)
    assert_close(together[1, 2], wl.dual_coefficients(ntk, residual, 50.0), rtol=1e-12)


def test_a_matrix_that_is_no_kernel_is_refused(problem):
    ntk, residual = problem
    with pytest.raises(ValueError, match="positive semidefinite, but its smallest eigenvalue is -"):
        wl.dual_coefficients(ntk - jnp.eye(6), residual, 1.0)
    with pytest.raises(ValueError, match="NaN"):
        wl.dual_coefficients(ntk.at[0, 0].set(jnp.nan), residual, 1.0)


@pytest.fixture(scope="module")
def network():
    net = wl.mlp(depth=2, width=32, outputs=2, activation=wl.erf, w_std=1.5, b_std=0.1)
    rng = np.random.default_rng(0)
    x, y, x_test = (jnp.asarray(rng.standard_normal(shape)) for shape in ((6, 4), (6, 2), (3, 4)))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    return net.apply, jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), shapes), x, y, x_test


@pytest.mark.parametrize("rule", [wl.GradientDescent(0.02), wl.HeavyBall(0.005, 0.8)], ids=repr)
def test_steps_in_closed_form_are_steps_on_the_linearized_network(network, rule):
    # T1 and T18: ties nets, linearize, empirical and dynamics together, in function and in weight space.
    apply, params0, x, y, x_test = network
    apply_lin, momentum, steps = wl.linearize(apply, params0), getattr(rule, "momentum", 0.0), 40
    settings = {"learning_rate": rule.learning_rate, "momentum": momentum, "steps": steps}
    trained = wl.oracles.gradient_descent(apply_lin, params0, x, y, **settings)
    points = jnp.concatenate([x, x_test])
    ntk = wl.flatten_outputs(wl.empirical_ntk(apply, params0, points, x, batch_size=6))
    start = apply(params0, points)
    of, residual = wl.modes(ntk[:12]), (y - start[:6]).reshape(-1, 1)
    predicted = wl.predict(ntk, of, residual, start.reshape(-1, 1), steps, rule)
    assert_close(apply_lin(trained, points), predicted.reshape(-1, 2), atol=1e-11)
    change = wl.weight_change(apply, params0, x, wl.dual_coefficients(of, residual, steps, rule).reshape(-1, 2))
    for moved, first, expected in zip(*map(jax.tree.leaves, (trained, params0, change)), strict=True):
        assert_close(moved - first, expected, atol=1e-11)


def test_a_network_trained_in_its_readout_alone_is_its_linearization(network):
    # T2, at any width: the closed form of the features' kernel is gradient descent on the network itself.
    _, _, x, y, x_test = network
    rng = np.random.default_rng(0)
    weights = jnp.asarray(rng.standard_normal((4, 3)))

    def apply(readout, points):
        return jax.scipy.special.erf(points @ weights) @ readout

    readout0 = jnp.asarray(rng.standard_normal((3, 2)))
    trained = wl.oracles.gradient_descent(apply, readout0, x, y, learning_rate=0.05, steps=60)
    features, features_test = (apply(jnp.eye(3), points) for points in (x, x_test))
    predicted = wl.predict(
        features_test @ features.T,
        features @ features.T,
        y - apply(readout0, x),
        apply(readout0, x_test),
        60,
        wl.GradientDescent(0.05),
    )
    assert relative_gap(predicted, apply(trained, x_test)) < 1e-12
    moved = readout0 + 1.0
    assert relative_gap(wl.linearize(apply, readout0)(moved, x), apply(moved, x)) < 1e-14


def test_the_end_of_training_is_regression_on_the_gradients_at_the_start(network):
    # T29: the random features are ∇f₀, and of all weights that fit the targets the nearest are found.
    apply, params0, x, y, x_test = network
    points = jnp.concatenate([x, x_test])
    jacobian = jnp.concatenate(
        [leaf.reshape(18, -1) for leaf in jax.tree.leaves(jax.jacobian(lambda p: apply(p, points))(params0))], axis=1
    )
    start = apply(params0, points).reshape(-1, 1)
    move, *_ = np.linalg.lstsq(jacobian[:12], y.reshape(-1, 1) - start[:12])
    ntk = jacobian @ jacobian[:12].T
    predicted = wl.predict(ntk, ntk[:12], y.reshape(-1, 1) - start[:12], start, jnp.inf)
    assert_close(predicted, start + jacobian @ move, atol=1e-8)


def test_predictions_are_responses_to_the_residual(problem):
    ntk, residual = problem
    ntk_test, start = jnp.asarray(np.random.default_rng(0).standard_normal((4, 6))), jnp.ones((4, 2))
    times = np.array([[0.3, 7.0]])
    responses = wl.response(ntk_test, ntk, times)
    predicted = wl.predict(ntk_test, wl.modes(ntk), residual, start, times)
    for column, time in enumerate(times[0]):
        literal = ntk_test @ np.linalg.inv(ntk) @ (np.eye(6) - scipy.linalg.expm(-np.asarray(ntk) * time))
        assert_close(responses[0, column], literal, rtol=1e-10, atol=1e-11)
        assert_close(predicted[0, column], start + literal @ residual, rtol=1e-10, atol=1e-11)


def test_a_projected_kernel_predicts_as_the_kernel_itself(problem):
    ntk, residual = problem
    ntk_test, start = jnp.asarray(np.random.default_rng(0).standard_normal((4, 6))), jnp.ones((4, 2))
    of, times = wl.modes(ntk), np.array([[0.3, 7.0, np.inf]])
    projected = of.project(ntk_test)
    for rule in (wl.Flow(), wl.HeavyBallFlow(0.1, 0.9)):
        for function, rest in ((wl.predict, (residual, start)), (wl.response, ())):
            expected = function(ntk_test, of, *rest, times, rule)
            assert_close(function(projected, of, *rest, times, rule), expected, atol=1e-13)
    with pytest.raises(ValueError, match="expected test × training inputs"):
        of.project(ntk_test.T)


def test_predictions_work_inside_jit_grad_and_vmap(problem):
    ntk, residual = problem
    of = wl.modes(ntk)

    def total(test_kernel, time):
        return wl.predict(test_kernel, of, residual, jnp.ones((6, 2)), time).sum()

    for kernel in (ntk, of.project(ntk)):
        by_time = jax.jit(jax.vmap(jax.grad(total, argnums=1), in_axes=(None, 0)))(kernel, jnp.array([0.3, 2.0]))
        ahead, behind = (np.array([total(kernel, time + step) for time in (0.3, 2.0)]) for step in (1e-5, -1e-5))
        assert_close(by_time, (ahead - behind) / 2e-5, rtol=1e-7)


def test_repeated_inputs_meet_the_mean_of_their_targets(problem):
    ntk, residual = problem
    again = np.array([0, 1, 2, 3, 4, 5, 2])
    targets = residual[again].at[2].add(1.0).at[6].add(-1.0)
    for time in (1e4, jnp.inf):
        learnt = wl.predict(ntk[:, again], ntk[again][:, again], targets, jnp.zeros((6, 2)), time)
        assert_close(learnt, residual, atol=1e-9)
    single = wl.modes(jnp.float32(ntk[again][:, again]))
    assert float(single.rates[0]) == 0
    assert float(single.rates[1]) > 0


def test_thresholds_are_where_steps_stop_to_converge(problem):
    # T11 and S62.
    ntk, _ = problem
    theorem, stability = wl.critical_learning_rate(ntk)
    rates = np.linalg.eigvalsh(ntk)
    for factor in (0.5, 0.9, 1.0, 1.01):
        contraction = np.abs(1 - factor * float(theorem) * rates).max()
        promised = 1 - factor * float(theorem) * rates[0]
        assert (contraction <= promised + 1e-12) == (factor <= 1)
    for momentum in (0.0, 0.9):
        at = float(wl.critical_learning_rate(ntk, momentum).stability)
        for factor in (0.999, 1.001):
            powers = wl.HeavyBall(factor * at, momentum).remaining(jnp.asarray(rates[-1:]), jnp.array([100, 60_000]))
            assert (abs(float(powers[1])) < abs(float(powers[0]))) == (factor < 1)
    assert float(theorem) < float(stability)


def test_the_two_units_of_the_loss_are_inverse():
    y = jnp.zeros((8, 3))
    assert wl.to_mean_loss(wl.from_mean_loss(0.7, y), y) == pytest.approx(0.7, rel=1e-15)
    assert wl.to_mean_loss(1.0, y) == 24


def test_what_does_not_belong_together_is_refused(problem):
    ntk, residual = problem
    rectangle, four = jnp.ones((3, 6)), jnp.ones((6, 6, 2, 2))
    for bad, message in [
        (rectangle, r"shape \(n, n\), but came \(3, 6\)"),
        (four, "flatten_outputs"),
        (ntk.at[0, 1].add(1.0), "symmetric"),
    ]:
        with pytest.raises(ValueError, match=message):
            wl.modes(bad)
    with pytest.raises(ValueError, match="n = 6 as in the training kernel, but came"):
        wl.dual_coefficients(ntk, residual[:5], 1.0)
    with pytest.raises(ValueError, match="ntk_test: expected test × training"):
        wl.predict(jnp.ones((6, 3)), ntk, residual, jnp.ones((6, 2)), 1.0)
    with pytest.raises(ValueError, match=r"f0_test: expected shape \(3, 2\)"):
        wl.predict(rectangle, ntk, residual, jnp.ones((3, 1)), 1.0)
    with pytest.raises(ValueError, match="from 0 to infinity"):
        wl.dual_coefficients(ntk, residual, -1.0)
    with pytest.raises(ValueError, match="momentum: expected"):
        wl.critical_learning_rate(ntk, 1.5)


def test_everything_works_in_single_precision_and_in_vmap(problem):
    ntk, residual = problem
    single = wl.predict(*map(jnp.float32, (ntk, ntk, residual, residual)), np.array([0.5, 3.0]))
    assert single.dtype == jnp.float32
    assert_close(single, wl.predict(ntk, ntk, residual, residual, np.array([0.5, 3.0])), atol=1e-4)
    scales = jnp.array([1.0, 2.0])
    many = jax.jit(jax.vmap(lambda scale: wl.response(ntk, scale * ntk, 0.5)))(scales)
    assert_close(many[1], wl.response(ntk, 2 * ntk, 0.5), atol=1e-13)


def test_the_gradient_with_respect_to_the_kernel_is_right(problem):
    ntk, residual = problem
    towards = jnp.asarray(np.random.default_rng(0).standard_normal((6, 6)))
    towards = 0.05 * (towards + towards.T)

    def total(step):
        return jnp.sum(wl.dual_coefficients(ntk + step * towards, residual, np.array([0.5, np.inf])) ** 2)

    numerically = (total(1e-6) - total(-1e-6)) / 2e-6
    assert_close(jax.jit(jax.grad(total))(0.0), numerically, rtol=1e-5)


def test_from_mean_loss_is_the_factor_between_the_two_gradients(network):
    apply, params0, x, y, _ = network
    rate = 0.3
    mean = jax.grad(lambda p: wl.mse_loss(apply(p, x), y))(params0)
    one_step = wl.oracles.gradient_descent(apply, params0, x, y, learning_rate=wl.from_mean_loss(rate, y), steps=1)
    for moved, start, gradient in zip(*map(jax.tree.leaves, (one_step, params0, mean)), strict=True):
        assert_close(moved, start - rate * gradient, rtol=1e-12, atol=1e-14)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the frozen neural-tangents numbers are not beside this checkout")
def test_neural_tangents_trajectories_are_met():
    net = wl.mlp(depth=2, width=1, activation=wl.erf, w_std=1.5, b_std=0.1)
    with np.load(REFERENCE, allow_pickle=False) as reference:
        x, x_test, y, f0, f0_test = (jnp.asarray(reference[f"dyn_{k}"]) for k in ("x", "xt", "y", "f0", "f0t"))
        ntk = jax.jit(lambda points: wl.kernel_matrix(net, points).ntk)(jnp.concatenate([x, x_test]))[:, :6]
        of, start = wl.modes(ntk[:6]), jnp.concatenate([f0, f0_test])
        for time in ("0.5", "5.0", "50.0"):
            outputs = wl.predict(ntk, of, y - f0, start, wl.from_mean_loss(float(time), y))
            theirs = np.concatenate([reference[f"mse/t{time}/{part}"] for part in ("train", "test")])
            assert_close(outputs, theirs, rtol=1e-10)
        learning_rate = wl.from_mean_loss(0.1, y)
        steps, rule = np.array([1, 10, 100]), wl.HeavyBallFlow(learning_rate, 0.9)
        outputs = wl.predict(ntk, of, y - f0, start, steps * learning_rate**0.5, rule)
        theirs = np.concatenate([reference["momentum/train"], reference["momentum/test"]], axis=1)
        assert_close(outputs, theirs, atol=1e-6)
