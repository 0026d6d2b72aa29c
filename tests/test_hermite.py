"""Mehler's formula against closed forms, and the stated error against the real one."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, slope

import widelinear as wl
from widelinear.hermite import derivative, mehler, quadrature_error

RHO = jnp.linspace(-1.0, 1.0, 9)


def maps(activation, var, nodes):
    """Both maps by quadrature and in closed form, at two variances in a ratio of 1 to 2, over all correlations."""
    var1, var2 = jnp.full(9, var), jnp.full(9, var / 2)
    cov = RHO * jnp.sqrt(var1 * var2)
    functions = activation.phi, derivative(activation.phi)
    return [
        (mehler(phi, nodes, cov, var1, var2), dual(cov, var1, var2))
        for phi, dual in zip(functions, (activation.dual, activation.dual_dot), strict=True)
    ]


@pytest.mark.parametrize("activation", [wl.erf, wl.gelu, wl.gaussian, wl.sin, wl.cos, wl.exp], ids=repr)
@pytest.mark.parametrize("var", [1e-6, 1.0])
def test_smooth_functions_have_their_closed_forms(activation, var):
    for quadrature, closed in maps(activation, var, nodes=128):
        assert_close(quadrature, closed, atol=1e-13, rtol=1e-12)


def test_a_polynomial_needs_as_many_nodes_as_coefficients():
    # E[(u² + u)(v² + v)] = 2 cov² + var1·var2 + cov; E[(2u + 1)(2v + 1)] = 4 cov + 1. At any variance.
    cov, var1, var2 = jnp.asarray([0.3, -20.0, 1e-7]), jnp.asarray([1.0, 100.0, 1e-6]), jnp.asarray([0.5, 50.0, 2e-6])
    square_plus = wl.polynomial([0.0, 1.0, 1.0])
    assert_close(square_plus.dual(cov, var1, var2), 2 * cov**2 + var1 * var2 + cov, rtol=1e-11)
    assert_close(square_plus.dual_dot(cov, var1, var2), 4 * cov + 1, rtol=1e-11)


def test_the_sum_at_full_correlation_is_the_quadrature_of_the_square():
    z, weights = np.polynomial.hermite_e.hermegauss(40)
    var = jnp.asarray([0.1, 3.0, 100.0])
    squares = jnp.tanh(z[:, None] * jnp.sqrt(var)[None]) ** 2
    expected = weights @ np.asarray(squares) / weights.sum()
    assert_close(mehler(jnp.tanh, 40, var, var, var), expected, rtol=1e-12)


@pytest.mark.parametrize("var", [3.0, 10.0])
def test_the_stated_error_is_the_real_one(var):
    var1 = jnp.full(9, var)
    real = []
    for phi, dual in [(wl.erf.phi, wl.erf.dual), (derivative(wl.erf.phi), wl.erf.dual_dot)]:
        exact = dual(RHO * var, var1, var1)
        real.append(jnp.max(jnp.abs(mehler(phi, 64, RHO * var, var1, var1) - exact)) / exact[-1])
    assert_close(quadrature_error(wl.erf.phi, var, nodes=64), float(max(real)), rtol=0.1)


def test_across_a_kink_the_error_falls_as_one_over_the_nodes():
    nodes = [16, 32, 64, 128]
    errors = [[float(jnp.max(jnp.abs(q - c))) for q, c in maps(wl.relu, 1.0, n)] for n in nodes]
    dual, dual_dot = np.transpose(errors)
    assert -1.1 < slope(nodes, dual) < -0.9
    assert -1.2 < slope(nodes, dual_dot) < -0.7
    assert quadrature_error(wl.relu.phi, 1.0) > 1e-4


def test_in_single_precision_the_maps_are_right_to_its_rounding():
    pairs = [
        jnp.asarray(a, jnp.float32) for a in ([0.3, 0.9, -0.2, 1e-3], [1.0, 0.9, 0.5, 1e-3], [1.2, 0.9, 0.4, 1e-3])
    ]
    low = jax.jit(partial(mehler, jnp.tanh, 128))(*pairs)
    high = jax.jit(partial(mehler, jnp.tanh, 128))(*(a.astype(jnp.float64) for a in pairs))
    assert low.dtype == jnp.float32
    assert_close(low, high, rtol=2e-6, atol=1e-8)
