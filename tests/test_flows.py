"""Any loss in time and in steps, against closed forms, linearized networks, and another library's numbers."""

import functools
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close, slope

import widelinear as wl

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "neural_tangents.npz"
TIMES = np.array([5.0, 0.0, 50.0])  # not sorted; every test has the same shapes, so that each solve compiles once


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    features = rng.standard_normal((6, 9))
    labels = np.eye(2)[rng.integers(0, 2, 6)]
    return tuple(map(jnp.asarray, (features @ features.T, rng.standard_normal((6, 2)), labels)))


@pytest.mark.parametrize("rule", [wl.Flow(), wl.HeavyBallFlow(0.1, 0.9)], ids=repr)
def test_squared_loss_has_its_closed_form(problem, rule):
    ntk, f0, y = problem
    solved = wl.dual_flow(wl.mse_loss, ntk, f0, y, TIMES, rule)
    times = wl.from_mean_loss(TIMES, y)
    if isinstance(rule, wl.HeavyBallFlow):
        times, rule = TIMES * wl.from_mean_loss(1.0, y) ** 0.5, wl.HeavyBallFlow(wl.from_mean_loss(0.1, y), 0.9)
    assert_close(solved, wl.dual_coefficients(ntk, y - f0, times, rule), atol=1e-7)
    assert_close(solved[1], np.zeros((6, 2)), atol=0)


@pytest.mark.parametrize("rule", [wl.GradientDescent, wl.HeavyBall])
def test_steps_on_squared_loss_have_their_closed_form(problem, rule):
    ntk, f0, y = problem
    settings = (0.1,) if rule is wl.GradientDescent else (0.1, 0.9)
    stepped = wl.dual_flow(wl.mse_loss, ntk, f0, y, TIMES, rule(*settings))
    exact = rule(wl.from_mean_loss(settings[0], y), *settings[1:])
    assert_close(stepped, wl.dual_coefficients(ntk, y - f0, TIMES, exact), atol=1e-12)
    assert_close(stepped[1], np.zeros((6, 2)), atol=0)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_steps_on_cross_entropy_are_those_of_a_linearized_network(momentum):
    net = wl.mlp(depth=1, width=16, outputs=1, activation=wl.tanh)
    x = jax.random.normal(jax.random.key(0), (6, 4))
    y = jnp.sign(x[:, :1])

    def logistic(f, y):
        return jnp.mean(jnp.logaddexp(0.0, -y * f))

    params0 = net.init(jax.random.key(1), x)
    linear = wl.linearize(net.apply, params0)
    trained = wl.train(
        linear,
        params0,
        x,
        y,
        optimizer=optax.sgd(0.5, momentum=momentum),
        loss=logistic,
        steps=[0, 7, 60],
        record=lambda params: linear(params, x),
    ).records
    ntk, f0 = wl.empirical_ntk(net.apply, params0, x, outputs=0), net.apply(params0, x)
    rule = wl.HeavyBall(0.5, momentum) if momentum else wl.GradientDescent(0.5)
    coefficients = wl.dual_flow(logistic, ntk, f0, y, np.array([0, 7, 60]), rule)
    assert_close(f0[None] + ntk @ coefficients, trained, atol=1e-12)


def test_small_steps_on_cross_entropy_approach_its_flow(problem):
    # T19, the part without a network: the gap to gradient descent on the linear model closes like η.
    ntk, f0, y = problem
    solve = functools.partial(wl.dual_flow, wl.cross_entropy_loss, ntk, f0, y)
    counts = np.array([500, 1000, 2000])
    gaps = [np.abs(solve(int(n), wl.GradientDescent(TIMES[0] / n)) - solve(TIMES)[0]).max() for n in counts]
    assert -1.05 < slope(counts, gaps) < -0.95


def test_the_gradient_of_cross_entropy_is_softmax_minus_labels(problem):
    _, f0, y = problem
    assert_close(jax.grad(wl.cross_entropy_loss)(f0, y), (jax.nn.softmax(f0) - y) / y.size, atol=1e-15)


def test_cross_entropy_never_moves_the_mean_logit(problem):
    ntk, f0, y = problem
    coefficients = wl.dual_flow(wl.cross_entropy_loss, ntk, f0, y, TIMES)
    assert_close((ntk @ coefficients).mean(-1), np.zeros((3, 6)), atol=1e-12)
    assert float(jnp.abs(coefficients[0]).max()) > 0.1


def test_it_works_inside_jit_grad_and_vmap_and_in_single_precision(problem):
    ntk, f0, y = problem

    def total(scale):
        return wl.dual_flow(wl.cross_entropy_loss, scale * ntk, f0, y, TIMES)[0, :, 0].sum()

    numerically = (total(1 + 1e-4) - total(1 - 1e-4)) / 2e-4
    many = jax.jit(jax.vmap(jax.grad(total)))(jnp.array([0.5, 1.0]))
    assert_close(many[1], numerically, rtol=1e-4)
    single = wl.dual_flow(wl.cross_entropy_loss, *map(jnp.float32, problem), TIMES)
    assert single.dtype == jnp.float32
    assert_close(single, wl.dual_flow(wl.cross_entropy_loss, ntk, f0, y, TIMES), atol=1e-3)


def test_what_cannot_be_integrated_is_refused(problem):
    ntk, f0, y = problem
    loss = wl.cross_entropy_loss
    for time in (np.inf, -1.0, np.nan):
        with pytest.raises(ValueError, match="expected finite times from 0 on"):
            wl.dual_flow(loss, ntk, f0, y, time)
    unknown = type("Unknown", (wl.Rule,), dict.fromkeys(("_filter", "_remaining", "_converges")))()
    with pytest.raises(TypeError, match="rule: expected one of Flow, HeavyBallFlow, GradientDescent and HeavyBall"):
        wl.dual_flow(loss, ntk, f0, y, 1.0, unknown)
    with pytest.raises(ValueError, match="expected whole numbers of steps"):
        wl.dual_flow(loss, ntk, f0, y, 1.5, wl.GradientDescent(0.1))
    with pytest.raises(ValueError, match="n rows, but came"):
        wl.dual_flow(loss, ntk, f0[:5], y[:5], 1.0)
    with pytest.raises(ValueError, match="expected finite numbers"):
        wl.dual_flow(loss, ntk.at[0, 0].set(jnp.nan), f0, y, 1.0)
    with pytest.raises(RuntimeError, match="20 steps of the solver did not reach"):
        wl.dual_flow(loss, ntk, f0, y, TIMES, max_steps=20)


def test_without_diffrax_one_sentence_says_how_to_get_it(problem, monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'widelinear\[flows\]'"):
        wl.dual_flow(wl.cross_entropy_loss, *problem, TIMES, max_steps=77)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the frozen neural-tangents numbers are not beside this checkout")
def test_neural_tangents_cross_entropy_is_met():
    net = wl.mlp(depth=2, width=1, activation=wl.erf, w_std=1.5, b_std=0.1)
    with np.load(REFERENCE, allow_pickle=False) as reference:
        x, x_test, f0, f0_test = (jnp.asarray(reference[f"dyn_{k}"]) for k in ("x", "xt", "f0", "f0t"))
        ntk = jax.jit(lambda points: wl.kernel_matrix(net, points).ntk)(jnp.concatenate([x, x_test]))[:, :6]
        labels, times = jnp.asarray(reference["xent/labels"]), 0.5 * np.array([1, 10, 100])
        coefficients = wl.dual_flow(wl.cross_entropy_loss, ntk[:6], f0, labels, times)
        outputs = jnp.concatenate([f0, f0_test])[None] + ntk @ coefficients
        theirs = np.concatenate([reference["xent/train"], reference["xent/test"]], axis=1)
        assert_close(outputs, theirs, atol=1e-6)
