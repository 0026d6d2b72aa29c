"""The tangent of a network: value and derivative at the touching point, and a remainder of second order."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, slope

import widelinear as wl


@pytest.fixture
def model(key):
    net = wl.mlp(depth=2, width=16, activation=wl.erf, outputs=3, w_std=1.5, b_std=0.1)
    x = jax.random.normal(key, (4, 5), jnp.float64)
    params0 = net.init(jax.random.fold_in(key, 1), x)
    direction = net.init(jax.random.fold_in(key, 2), x)
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


def test_the_remainder_is_of_second_order(model):
    apply, params0, direction, x = model
    apply_lin = wl.linearize(apply, params0)
    distances = 2.0 ** -np.arange(5, 11)
    gaps = [
        float(jnp.linalg.norm(apply(p, x) - apply_lin(p, x))) for p in (moved(params0, direction, d) for d in distances)
    ]
    assert 1.95 < slope(distances, gaps) < 2.05


def test_a_linear_model_is_its_own_tangent(key):
    x = jax.random.normal(key, (4, 5), jnp.float64)
    apply_lin = wl.linearize(lambda params, x: x @ params, jnp.ones((5, 2)))
    params = jax.random.normal(jax.random.fold_in(key, 1), (5, 2), jnp.float64)
    assert_close(apply_lin(params, x), x @ params, rtol=1e-12)
