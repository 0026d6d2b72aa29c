"""The tangent of a network, and its expansions of higher order: derivatives, remainders, and what a step costs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, slope

import widelinear as wl


@pytest.fixture(scope="module")
def model():
    net = wl.mlp(depth=2, width=16, activation=wl.erf, outputs=3, w_std=1.5, b_std=0.1)
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(4, 5)))
    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    params0, direction = (jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape)), shapes) for _ in range(2))
    return net.apply, params0, direction, x


def moved(params0, direction, distance):
    return jax.tree.map(lambda p, d: p + distance * d, params0, direction)


def test_it_is_the_explicit_jacobian(model):
    apply, params0, direction, x = model
    jacobian = jax.jacobian(lambda p: apply(p, x))(params0)
    change = sum(
        jnp.tensordot(j, d, d.ndim) for j, d in zip(jax.tree.leaves(jacobian), jax.tree.leaves(direction), strict=True)
    )
    linear = wl.linearize(apply, params0)(moved(params0, direction, 0.7), x)
    assert_close(linear, apply(params0, x) + 0.7 * change, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("order", [0, 1, 2, 3])
def test_the_squared_remainder_is_of_order_twice_the_next(model, order):
    apply, params0, direction, x = model
    expansion = wl.taylor_expand(apply, params0, order)
    gap = jax.jit(lambda d: jnp.sum((apply(p := moved(params0, direction, d), x) - expansion(p, x)) ** 2))
    distances = 2.0 ** -np.arange(5, 9)
    assert abs(slope(distances, [gap(d) for d in distances]) - 2 * (order + 1)) < 0.1


def test_the_expansion_of_first_order_is_the_linearization(model):
    apply, params0, direction, x = model
    params = moved(params0, direction, 0.7)
    first = jax.jit(wl.taylor_expand(apply, params0, 1))(params, x)
    assert_close(first, wl.linearize(apply, params0)(params, x), rtol=1e-12)


def test_polynomials_are_their_own_expansions_from_their_degree_on():
    def quadratic(w, x):
        return (x @ w) ** 2 + x @ w

    w, x = jnp.asarray([[3.0], [-1.0]]), jnp.asarray([[1.0, 2.0], [0.5, -1.0]])
    for order, same in ((1, False), (2, True), (4, True)):
        expansion = wl.taylor_expand(quadratic, jnp.ones((2, 1)), order)
        assert np.allclose(expansion(w, x), quadratic(w, x), rtol=1e-12) is same


def test_a_negative_order_is_refused(model):
    with pytest.raises(ValueError, match="at least 0, but came -1"):
        wl.taylor_expand(model[0], model[1], -1)


def test_on_a_batch_it_is_the_same_function_with_the_same_gradient(model):
    apply, params0, direction, x = model
    linearized, params = wl.linearize(apply, params0), moved(params0, direction, 0.7)

    @jax.jit
    def both(model, params):
        return model(params), jax.grad(lambda p: jnp.sum(model(p) ** 3))(params)

    kept = both(linearized.on_batch(x), params)
    anew = both(jax.tree_util.Partial(lambda x, p: linearized(p, x), x), params)
    jax.tree.map(lambda one, other: assert_close(one, other, rtol=1e-10, atol=1e-10), kept, anew)


def test_a_step_on_a_batch_repeats_no_forward_pass(key):
    # Matrix products of a hidden layer: 3 for the network, 4 for the linearization with activations kept, else 5.
    net, x = wl.mlp(depth=4, width=128, outputs=1), jnp.ones((32, 128))
    params = jax.eval_shape(net.init, key, x)

    def flops(step, *arguments):
        return jax.jit(jax.grad(step)).lower(params, *arguments).compile().cost_analysis()["flops"]

    network = flops(lambda p: jnp.sum(net.apply(p, x) ** 2))
    batch = jax.eval_shape(lambda p: wl.linearize(net.apply, p).on_batch(x), params)
    kept = flops(lambda p, model: jnp.sum(model(p) ** 2), batch)
    assert 1.0 < kept / network < 1.35


def test_a_linear_model_is_its_own_tangent(key):
    x = jax.random.normal(key, (4, 5), jnp.float64)
    apply_lin = wl.linearize(lambda params, x: x @ params, jnp.ones((5, 2)))
    params = jax.random.normal(jax.random.fold_in(key, 1), (5, 2), jnp.float64)
    assert_close(apply_lin(params, x), x @ params, rtol=1e-12)
