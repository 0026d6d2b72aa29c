"""Dual maps against quadrature, against each other by Price's theorem, and where inputs coincide, oppose or vanish."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, sine_excess

from widelinear import activations, oracles
from widelinear.activations import Activation, abrelu, erf, leaky_relu, polynomial, relu, sign
from widelinear.hermite import derivative

NAMED = [a for a in vars(activations).values() if isinstance(a, Activation)]
MADE = [leaky_relu(0.2), abrelu(2.0, -0.5), polynomial([0.3, -1.0, 0.5, 0.2])]
ALL = NAMED + MADE
QUADRATURE = ("tanh", "silu", "softplus")
KINKED = [a for a in ALL if a.near is not None and a is not activations.identity]
MANY = 240  # the length of every array of pairs, so that each operation is compiled once
PAIRS = np.array(
    [(0.3, 1.0, 1.2), (-0.6, 1.1, 0.5), (0.8, 0.9, 0.9), (0.0, 0.4, 1.2), (1.0, 1.1, 1.0), (0.01, 0.2, 0.1)]
)
# Inputs that coincide, are parallel, opposite, or black (one of them, both).
CORNERS = np.array(
    [(1.3, 1.3, 1.3), (2.0, 1.0, 4.0), (-1.3, 1.3, 1.3), (0.0, 0.0, 0.7), (0.0, 0.7, 0.0), (0.0, 0.0, 0.0)]
)

each = pytest.mark.parametrize("activation", ALL, ids=repr)
# The polynomials go through the code of all quadrature, in fewer terms.
each_cheap = pytest.mark.parametrize("activation", [a for a in ALL if a.name not in QUADRATURE], ids=repr)
each_kinked = pytest.mark.parametrize("activation", KINKED, ids=repr)


def columns(pairs, dtype="float64"):
    """cov, var1, var2 as arrays over the pairs, which are repeated up to the common length."""
    return [jnp.asarray(c, dtype) for c in np.resize(pairs, (MANY, 3)).T]


def gap_of(cov, var1, var2):
    return ((var1 - cov) + (var2 - cov)) / 2


@each
def test_dual_maps_are_gaussian_means(activation):
    mean = oracles.kinked_pair_mean if activation in KINKED else oracles.gaussian_pair_mean
    for phi, dual in [(activation.phi, activation.dual), (derivative(activation.phi), activation.dual_dot)]:
        expected = [mean(lambda u, v, phi=phi: phi(u) * phi(v), *map(float, pair)) for pair in PAIRS]
        assert_close(
            dual(*columns(PAIRS)), np.resize(expected, MANY), atol=1e-9 if activation is activations.tanh else 1e-11
        )


def test_functions_of_the_relu_family_are_those_of_jax():
    x = jnp.asarray([-2.0, -0.5, 0.0, 3.0])
    assert_close(relu.phi(x), jax.nn.relu(x))
    assert_close(leaky_relu(0.2).phi(x), jax.nn.leaky_relu(x, 0.2))
    assert_close(activations.absolute.phi(x), jnp.abs(x))


def test_relu_and_erf_are_the_formulas_of_the_paper():
    cov, var1, var2 = np.resize(PAIRS, (MANY, 3)).T
    theta = np.arccos(cov / np.sqrt(var1 * var2))
    s12 = np.sqrt(var1 * var2) / (2 * np.pi) * (np.sin(theta) + (np.pi - theta) * np.cos(theta))
    s16 = 2 / np.pi * np.arcsin(2 * cov / np.sqrt((1 + 2 * var1) * (1 + 2 * var2)))
    s17 = 4 / np.pi / np.sqrt((1 + 2 * var1) * (1 + 2 * var2) - 4 * cov**2)
    arguments = columns(PAIRS)
    assert_close(relu.dual(*arguments), s12, atol=1e-13)
    assert_close(relu.dual_dot(*arguments), (np.pi - theta) / (2 * np.pi), atol=1e-13)
    assert_close(erf.dual(*arguments), s16, atol=1e-13)
    assert_close(erf.dual_dot(*arguments), s17, rtol=1e-13)


@pytest.mark.parametrize("activation", [a for a in ALL if a is not sign], ids=repr)
def test_price_theorem_ties_the_two_maps(activation):
    coincide = [(v, v, v) for v in (0.6, 1.1)]
    cov, var1, var2 = columns(np.concatenate([PAIRS[:4], coincide]))
    slope = jax.grad(lambda c: jnp.sum(activation.dual(c, var1, var2)))(cov)
    assert_close(slope, activation.dual_dot(cov, var1, var2), atol=1e-9 if activation is activations.tanh else 1e-12)


@each
def test_maps_are_symmetric_and_obey_cauchy_and_schwarz(activation):
    cov, var1, var2 = columns(PAIRS)
    for dual in (activation.dual, activation.dual_dot):
        value, own = dual(cov, var1, var2), dual(var1, var1, var1) * dual(var2, var2, var2)
        assert_close(dual(cov, var2, var1), value, rtol=1e-12, atol=1e-15)
        assert (value**2 <= own * (1 + 1e-12)).all()


@each
def test_moments_are_the_maps_and_the_gap_after_them(activation):
    cov, var1, var2 = columns(PAIRS)
    dual, dual_dot, gap = activation.moments(gap_of(cov, var1, var2), cov, var1, var2)
    middle = (activation.square(var1) + activation.square(var2)) / 2
    assert_close(dual, activation.dual(cov, var1, var2), rtol=1e-12, atol=1e-12)
    assert_close(dual_dot, activation.dual_dot(cov, var1, var2), rtol=1e-12, atol=1e-12)
    assert_close(gap, middle - activation.dual(cov, var1, var2), rtol=1e-12, atol=1e-12)


@each
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_that_coincide_stay_so(activation, dtype):
    # A gap of 0 counts, though rounding has moved the covariance that comes with it.
    var, eps = jnp.asarray(np.geomspace(1e-6, 30, MANY), dtype), float(jnp.finfo(dtype).eps)
    dual, _, gap = activation.moments(jnp.zeros_like(var), var * (1 - 8 * eps), var, var)
    assert (gap == 0).all()
    steepness = var * jnp.abs(activation.dual_dot(var, var, var))
    assert (jnp.abs(dual - activation.square(var)) <= 4 * eps * activation.square(var) + 16 * eps * steepness).all()


@each_cheap
def test_corners_are_finite_and_so_are_their_gradients(activation):
    def everything(gap, *pairs):
        return *activation.moments(gap, *pairs), activation.dual(*pairs), activation.dual_dot(*pairs)

    corners = columns(CORNERS)
    values, pullback = jax.vjp(everything, gap_of(*corners), *corners)
    slopes = pullback(tuple(map(jnp.ones_like, values)))  # a sum is finite only if all of its terms are
    assert all(jnp.isfinite(array).all() for array in (*values, *slopes))
    assert (values[2] >= 0).all()


@each_cheap
def test_a_black_image_has_the_constant_value_at_zero(activation):
    zero, var = jnp.zeros(MANY), jnp.full(MANY, 0.7)
    z, weights = np.polynomial.hermite_e.hermegauss(64)
    at_zero = activation.phi(zero)
    if activation in KINKED:
        expected = zero
    else:
        expected = at_zero * (weights @ np.asarray(activation.phi(jnp.asarray(0.7**0.5 * z)))) / weights.sum()
    moments = activation.moments(var / 2, zero, zero, var)
    for dual in (moments.dual, activation.dual(zero, zero, var)):
        assert_close(dual, expected, atol=1e-12)
    assert_close(activation.square(zero), at_zero**2, atol=1e-15)


@each
@pytest.mark.parametrize("x64", [False, True])
def test_dtype_and_shape_are_those_of_the_pairs(activation, x64):
    for dtype in ("float32", "float64") if x64 else ("float32",):
        cov, var1, var2 = (jax.ShapeDtypeStruct(shape, dtype) for shape in [(2, 3), (2, 1), (1, 3)])
        with jax.enable_x64(x64):
            moments = jax.eval_shape(activation.moments, cov, cov, var1, var2)
            maps = [jax.eval_shape(dual, cov, var1, var2) for dual in (activation.dual, activation.dual_dot)]
        assert all(out.shape == (2, 3) and out.dtype == dtype for out in (*moments, *maps))


@each
def test_single_precision_is_right_to_its_rounding(activation):
    single = columns(PAIRS, "float32")
    exact = [a.astype("float64") for a in single]
    low, high = (activation.moments(gap_of(*pairs), *pairs) for pairs in (single, exact))
    for moment, expected in zip(low, high, strict=True):
        assert_close(moment, expected, rtol=1e-6, atol=1e-6)


@each_kinked
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_close_inputs_keep_their_digits_across_a_kink(activation, dtype):
    # For variances 1 the gap is 1 − cos θ.
    gap = np.geomspace(1e-14, 0.5, MANY).astype(dtype)
    one, eps = np.ones_like(gap), float(np.finfo(dtype).eps)
    s = gap.astype(np.longdouble)
    theta = 2 * np.arcsin(np.sqrt(s / 2))
    excess = sine_excess(theta)
    a, b = float(activation.phi(jnp.asarray(1.0))), float(activation.phi(jnp.asarray(-1.0)))
    c, kappa = (a**2 + b**2) / 2, (a + b) ** 2 / (2 * np.pi)
    after, slope = (2 / np.pi * theta, 0 * theta) if activation is sign else (c * s - kappa * excess, c - kappa * theta)
    moments = activation.moments(*map(jnp.asarray, (gap, 1 - gap, one, one)))
    assert_close(moments.gap, after, rtol=16 * eps)
    assert_close(moments.dual_dot, slope, atol=4 * eps * (c + kappa))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_inputs_of_other_norms_keep_their_angle_to_the_root_of_what_rounding_hides(dtype):
    # θ from variances that differ by a share δ: the doubt is √(εδ) at worst, and ε·δ/θ for larger angles.
    eps = float(np.finfo(dtype).eps)
    share, theta = (a.ravel() for a in np.meshgrid(np.geomspace(1e-6, 1, 12), np.geomspace(1e-5, 1.5, 20)))
    var1, var2 = np.ones_like(share).astype(dtype), ((1 + share) ** 2).astype(dtype)
    wide1, wide2 = np.sqrt(var1.astype(np.longdouble)), np.sqrt(var2.astype(np.longdouble))
    gap = ((wide1 - wide2) ** 2 / 2 + 2 * wide1 * wide2 * np.sin(theta / 2) ** 2).astype(dtype)
    cov = (wide1 * wide2 * np.cos(theta)).astype(dtype)
    dual_dot = relu.moments(*map(jnp.asarray, (gap, cov, var1, var2))).dual_dot
    error = np.abs(2 * np.pi * (0.5 - np.asarray(dual_dot, float)) - theta)
    assert (error <= 8 * eps + np.minimum(16 * eps * share / theta, 8 * np.sqrt(eps * share))).all()


@each_kinked
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_parallel_inputs_have_no_angle_whatever_their_norms(activation, dtype):
    rng = np.random.default_rng(0)
    x, scale = rng.normal(size=(MANY, 8)).astype(dtype), np.geomspace(1.001, 300, MANY).astype(dtype)[:, None]
    y = (x * scale).astype(dtype)
    gap, cov, var1, var2 = (jnp.asarray((a * b).mean(1)) for a, b in ((x - y, (x - y) / 2), (x, y), (x, x), (y, y)))
    moments = activation.moments(gap, cov, var1, var2)
    assert_close(
        moments.dual_dot,
        activation.dual_dot(*[jnp.ones(MANY)] * 3),
        rtol=1e-6 if dtype == "float32" else 1e-13,
    )


@pytest.mark.parametrize("nodes", [0, 513])
def test_nodes_out_of_range_are_refused(nodes):
    with pytest.raises(ValueError, match="nodes must be in"):
        activations.from_function("f", jnp.tanh, nodes=nodes)


@pytest.mark.parametrize("coefficients", [[], [1.0, float("nan")]])
def test_a_polynomial_without_finite_coefficients_is_refused(coefficients):
    with pytest.raises(ValueError, match="at least one finite number"):
        polynomial(coefficients)


def test_the_same_request_gives_the_same_activation():
    assert polynomial([1.0, 2.0]) is polynomial([1.0, 2.0])
    assert leaky_relu(0.1) is leaky_relu(0.1)
