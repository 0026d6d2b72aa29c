"""Every training rule on one mode, against a loop over its steps or a solver of its differential equation."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate
from helpers import assert_close, slope

import widelinear as wl

RATES = np.array([0.0, 1e-12, 1e-6, 0.01, 0.3, 2.0, 9.0])
STEPS = np.array([0, 1, 2, 7, 100, 1300])


def loop(rate, learning_rate, momentum, last):
    """(g, ρ) after every step from 0 to `last`; g by summing what is learnt, so that nothing cancels."""
    remaining, change, learnt, speed = 1.0, 0.0, 0.0, 0.0
    history = [(learnt, remaining)]
    for _ in range(last):
        change = momentum * change - learning_rate * rate * remaining
        speed = momentum * speed + learning_rate * (1 - rate * learnt)
        remaining, learnt = remaining + change, learnt + speed
        history.append((learnt, remaining))
    return np.array(history)


def grid(rule, rates, times):
    rates, times = jnp.asarray(rates)[None], jnp.asarray(times)[:, None]
    return rule.spectral_filter(rates, times), rule.remaining(rates, times)


@pytest.mark.parametrize(
    ("rule", "momentum"),
    [
        (wl.GradientDescent(0.1), 0.0),
        (wl.HeavyBall(0.1, 0.0), 0.0),
        (wl.HeavyBall(0.1, 0.9), 0.9),
        (wl.HeavyBall(0.1, 0.99), 0.99),
    ],
    ids=repr,
)
def test_a_discrete_rule_is_its_loop_over_steps(rule, momentum):
    critical = (1 - momentum**0.5) ** 2 / 0.1  # the double root, exactly and almost
    rates = np.concatenate([RATES, critical * np.array([1, 1 - 1e-9, 1 + 1e-5])])
    learnt, remaining = grid(rule, rates, STEPS)
    expected = np.stack([loop(rate, 0.1, momentum, STEPS[-1])[STEPS] for rate in rates], axis=1)
    assert_close(learnt, expected[..., 0], rtol=2e-12)
    assert_close(remaining, expected[..., 1], atol=1e-12)


def test_a_learning_rate_above_stability_diverges_as_its_loop_does():
    for rule, momentum in ((wl.GradientDescent(0.1), 0.0), (wl.HeavyBall(0.1, 0.9), 0.9)):
        rate = 2 * (1 + momentum) / 0.1
        for factor, steps in ((0.99, 1000), (1.01, 200)):
            expected = loop(factor * rate, 0.1, momentum, steps)[-1, 1]
            assert_close(rule.remaining(jnp.array(factor * rate), jnp.array(steps)), expected, rtol=1e-9, atol=1e-12)
            assert (abs(expected) > 1) == (factor > 1)
        assert bool(jnp.isnan(rule.remaining(jnp.array(1.01 * rate), jnp.array(jnp.inf))))


@pytest.mark.parametrize(("learning_rate", "momentum"), [(0.01, 0.9), (1e-4, 0.9), (0.01, 0.999)])
def test_the_heavy_ball_flow_solves_its_differential_equation(learning_rate, momentum):
    damping = (1 - momentum) / learning_rate**0.5
    critical = damping**2 / 4
    rates = np.concatenate([RATES, critical * np.array([1, 1 - 1e-9, 1 + 1e-5])])
    times = np.array([0.0, 0.01, 0.6, 3.0, 20.0])
    learnt, remaining = grid(wl.HeavyBallFlow(learning_rate, momentum), rates, times)

    def velocity(_, state):
        g, speed, rho, change = state.reshape(4, -1)
        return np.concatenate([speed, 1 - damping * speed - rates * g, change, -damping * change - rates * rho])

    start = np.concatenate([np.zeros((2, len(rates))), np.ones((1, len(rates))), np.zeros((1, len(rates)))]).ravel()
    solved = scipy.integrate.solve_ivp(
        velocity, (0, times[-1]), start, "DOP853", times, rtol=1e-12, atol=1e-15
    ).y.reshape(4, len(rates), -1)
    assert_close(learnt, solved[0].T, rtol=1e-9, atol=1e-14)
    assert_close(remaining, solved[2].T, atol=1e-10)


def test_early_momentum_keeps_its_digits():
    # (1 − ρ)/λ would lose all of them: here ρ is 1 − 1e-12.
    rule = wl.HeavyBallFlow(0.01, 0.9)
    assert_close(rule.spectral_filter(jnp.array(2.0), jnp.array(1e-6)), 0.5e-12 * (1 - 1e-6 / 3), rtol=1e-12)


def test_momentum_steps_approach_their_flow_like_the_root_of_the_learning_rate():
    # T18. The flow's learning rate stands in its damping and its clock alone (E10): anything else breaks the slope.
    rate, damping, time = jnp.array(1.3), 0.8, 2.0
    roots = np.array([0.02, 0.01, 0.005, 0.0025])
    gaps = [
        wl.HeavyBall(root**2, 1 - damping * root).remaining(rate, jnp.array(round(time / root)))
        - wl.HeavyBallFlow(root**2, 1 - damping * root).remaining(rate, jnp.array(time))
        for root in roots
    ]
    assert 0.95 < slope(roots, np.abs(gaps)) < 1.05


def test_gradient_descent_is_not_the_printed_replacement():
    # E1: the rule as printed, 1 − (1 − ηλ)^i in the place of e^{−ηλt}, forgets everything before the first step.
    rate = jnp.array(3.0)
    small = wl.GradientDescent(1e-4)
    for steps in (0, 1000):
        printed = 1 - (1 - 1e-4 * 3.0) ** steps
        flow = float(wl.Flow().remaining(rate, jnp.array(1e-4 * steps)))
        assert_close(small.remaining(rate, jnp.array(steps)), flow, rtol=1e-4)
        assert abs(printed - flow) > 0.4


@pytest.mark.parametrize(
    "rule", [wl.Flow(), wl.GradientDescent(0.1), wl.HeavyBall(0.1, 0.9), wl.HeavyBallFlow(0.1, 0.9)], ids=repr
)
def test_a_rule_keeps_its_promises(rule):
    rates, times = jnp.array([[0.0, 1e-9, 0.5, 3.0]]), jnp.array([[1.0], [40.0], [jnp.inf]])
    learnt, remaining = rule.spectral_filter(rates, times), rule.remaining(rates, times)
    assert_close(remaining, 1 - rates * learnt, atol=1e-13)
    assert_close(learnt[:2, 0], learnt[:2, 1], rtol=1e-6)  # the limit at rate 0
    assert_close(learnt[2], [0.0, 1e9, 2.0, 1 / 3.0], rtol=1e-12)
    single = rule.spectral_filter(jnp.float32(rates), jnp.float32(times))
    assert single.dtype == jnp.float32
    assert_close(single, learnt, rtol=2e-5)


@pytest.mark.parametrize("rule", [wl.Flow(), wl.GradientDescent(0.1), wl.HeavyBallFlow(0.01, 0.9)], ids=repr)
def test_derivatives_are_right_at_rate_zero_and_at_critical_damping(rule):
    at = jax.jit(jax.grad(lambda rate: rule.spectral_filter(rate, jnp.array(3.0))))
    for rate in (0.25, 2.0):  # 0.25 is critical for the last rule
        near = [float(rule.spectral_filter(jnp.array(rate + step), jnp.array(3.0))) for step in (1e-4, -1e-4)]
        assert_close(at(rate), (near[0] - near[1]) / 2e-4, rtol=1e-6)
    ends = jax.grad(lambda rate: rule.spectral_filter(rate, jnp.array(jnp.inf)))(2.0)
    assert_close(ends, -0.25, rtol=1e-12)


def test_no_rule_has_the_structure_of_another():
    # Compiled functions find their program by the structure of their arguments, and equal structures share one.
    rules = [wl.Flow(), wl.GradientDescent(0.1), wl.HeavyBall(0.1, 0.9), wl.HeavyBallFlow(0.1, 0.9)]
    for one, other in itertools.combinations(rules, 2):
        assert jax.tree.structure(one) != jax.tree.structure(other)
    for rule in rules:
        assert jax.tree.unflatten(jax.tree.structure(rule), jax.tree.leaves(rule)) == rule


def test_rules_can_be_traced_and_vmapped():
    rates, steps = jnp.array([0.5, 2.0]), jnp.array([5])
    many = jax.jit(jax.vmap(lambda eta, beta: wl.HeavyBall(eta, beta).remaining(rates, steps)))
    together = many(jnp.array([0.1, 0.2]), jnp.array([0.9, 0.5]))
    assert_close(together[1], wl.HeavyBall(0.2, 0.5).remaining(rates, steps), rtol=1e-13)
    by_rate = jax.grad(lambda eta: wl.GradientDescent(eta).remaining(jnp.array(2.0), jnp.array(3)))(0.1)
    assert_close(by_rate, -3 * 2.0 * 0.8**2, rtol=1e-12)


@pytest.mark.parametrize("learning_rate", [0.0, -0.1, np.nan, np.inf])
def test_a_learning_rate_that_is_not_positive_is_refused(learning_rate):
    for make in (wl.GradientDescent, lambda eta: wl.HeavyBall(eta, 0.9), lambda eta: wl.HeavyBallFlow(eta, 0.9)):
        with pytest.raises(ValueError, match="learning_rate: expected a positive number"):
            make(learning_rate)


@pytest.mark.parametrize("momentum", [-0.1, 1.0, np.nan])
def test_momentum_outside_its_range_is_refused(momentum):
    for rule in (wl.HeavyBall, wl.HeavyBallFlow):
        with pytest.raises(ValueError, match="momentum: expected a number of at least 0 and below 1"):
            rule(0.1, momentum)


def test_times_that_are_none_are_refused():
    for time in (-1.0, np.nan):
        with pytest.raises(ValueError, match="expected times from 0 to infinity"):
            wl.Flow().remaining(jnp.ones(1), jnp.array([time]))
    for rule in (wl.GradientDescent(0.1), wl.HeavyBall(0.1, 0.9)):
        with pytest.raises(ValueError, match="whole numbers of steps"):
            rule.spectral_filter(jnp.ones(1), jnp.array([2.5]))
