"""Dual maps against quadrature, against their definition by Price's theorem, and at coinciding inputs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

from widelinear import activations, oracles
from widelinear.activations import Activation, relu

ALL = [a for a in vars(activations).values() if isinstance(a, Activation)]
SMOOTH = [a for a in ALL if a is not relu]
PAIRS = [(0.3, 1.0, 2.0), (-0.8, 1.5, 0.7), (0.9, 1.0, 1.0), (0.0, 0.4, 3.0)]


@pytest.mark.parametrize("activation", SMOOTH, ids=repr)
@pytest.mark.parametrize("pair", PAIRS)
def test_dual_maps_are_gaussian_means(activation, pair):
    derivative = jax.vmap(jax.vmap(jax.grad(activation.phi)))
    dual = oracles.gaussian_pair_mean(lambda u, v: activation.phi(u) * activation.phi(v), *pair)
    dual_dot = oracles.gaussian_pair_mean(lambda u, v: derivative(u) * derivative(v), *pair)
    arguments = [jnp.asarray(p) for p in pair]
    assert_close(activation.dual(*arguments), dual, atol=1e-9)
    assert_close(activation.dual_dot(*arguments), dual_dot, atol=1e-9)


@pytest.mark.parametrize("pair", PAIRS)
def test_relu_dual_maps_are_gaussian_means_across_the_kink(pair):
    # In polar coordinates the kink lies on rays, so a fine rule over the angle is exact to its step.
    cov, var1, var2 = pair
    factor = np.linalg.cholesky(np.array([[var1, cov], [cov, var2]]))
    steps = 200_000
    angle = 2 * np.pi * (np.arange(steps) + 0.5) / steps
    u, v = factor @ np.stack([np.cos(angle), np.sin(angle)])
    dual = np.mean(np.maximum(u, 0) * np.maximum(v, 0)) * 2  # the mean of r² is 2
    dual_dot = np.mean((u > 0) * (v > 0))
    arguments = [jnp.asarray(p) for p in pair]
    assert_close(relu.dual(*arguments), dual, atol=1e-8)
    assert_close(relu.dual_dot(*arguments), dual_dot, atol=1e-5)


@pytest.mark.parametrize("activation", ALL, ids=repr)
@pytest.mark.parametrize("pair", PAIRS)
def test_price_theorem_ties_the_two_maps(activation, pair):
    cov, var1, var2 = (jnp.asarray(p) for p in pair)
    assert_close(jax.grad(activation.dual)(cov, var1, var2), activation.dual_dot(cov, var1, var2), atol=1e-12)


@pytest.mark.parametrize("activation", ALL, ids=repr)
def test_gradients_are_finite_at_coinciding_inputs(activation):
    one = jnp.asarray(1.3)
    for dual in (activation.dual, activation.dual_dot):
        assert all(bool(jnp.isfinite(g)) for g in jax.grad(dual, argnums=(0, 1, 2))(one, one, one))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_relu_of_equal_inputs_is_exact(dtype):
    var = jnp.linspace(0.01, 50.0, 1001, dtype=dtype)
    eps = float(jnp.finfo(dtype).eps)
    assert_close(relu.dual(var, var, var), var / 2, rtol=4 * eps)
    assert_close(relu.dual_dot(var, var, var), jnp.full_like(var, 0.5), rtol=4 * eps)


def test_relu_of_opposite_inputs_is_zero():
    one = jnp.asarray(1.0)
    assert_close(relu.dual(-one, one, one), 0.0, atol=1e-15)
    assert_close(relu.dual_dot(-one, one, one), 0.0, atol=1e-15)


def test_relu_of_a_zero_input_is_finite():
    zero, one = jnp.asarray(0.0), jnp.asarray(1.0)
    assert float(relu.dual(zero, zero, one)) == 0.0
    assert bool(jnp.isfinite(relu.dual_dot(zero, zero, one)))
