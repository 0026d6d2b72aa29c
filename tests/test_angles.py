"""Polynomial angles against NumPy's in twice the precision, and their derivatives at the ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, sine_excess

from widelinear.angles import angle_of_versine, arcsin, inverse, safe_sqrt

FINER = {"float32": np.float64, "float64": np.longdouble}


@pytest.mark.parametrize("dtype", FINER)
def test_the_arcsine_is_right_to_three_roundings(dtype):
    x = np.linspace(-1, 1, 20001).astype(dtype)
    actual = jax.jit(arcsin)(x)
    assert actual.dtype == dtype
    assert_close(actual, np.arcsin(x.astype(FINER[dtype])), rtol=3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", FINER)
def test_the_angle_of_a_versine_is_right_to_three_roundings(dtype):
    versine = np.concatenate([np.geomspace(1e-12, 1, 10001), np.linspace(1, 2, 10001)]).astype(dtype)
    s = versine.astype(FINER[dtype])
    exact = 2 * np.arcsin(np.sqrt(s / 2))
    angle, excess = jax.jit(angle_of_versine)(versine)
    assert angle.dtype == excess.dtype == dtype
    assert_close(angle, exact, rtol=3 * np.finfo(dtype).eps)
    assert_close(excess, sine_excess(exact), rtol=4 * np.finfo(dtype).eps)


def test_the_derivatives_are_those_of_the_angle():
    versine = jnp.asarray([0.3, 0.999, 1.0, 1.7])
    sine = jnp.sqrt(versine * (2 - versine))
    angle, slope_of_angle = jax.jvp(lambda s: angle_of_versine(s)[0], (versine,), (jnp.ones(4),))
    _, slope_of_excess = jax.jvp(lambda s: angle_of_versine(s)[1], (versine,), (jnp.ones(4),))
    assert_close(slope_of_angle, 1 / sine, rtol=1e-12)
    assert_close(slope_of_excess, angle, rtol=1e-14)


@pytest.mark.parametrize(
    "function", [arcsin, safe_sqrt, inverse, *(lambda s, i=i: angle_of_versine(s)[i] for i in (0, 1))]
)
def test_values_and_derivatives_are_finite_at_the_ends_and_beyond(function):
    x = jnp.asarray([-1 - 1e-15, -1.0, -0.0, 0.0, 1.0, 1 + 1e-15, 2.0, 2 + 1e-15])
    values, slopes = jax.jvp(function, (x,), (jnp.ones_like(x),))
    assert jnp.isfinite(values).all()
    assert jnp.isfinite(slopes).all()
    assert_close(inverse(x), np.where(x > 0, 1 / np.where(x > 0, x, 1), 0), rtol=1e-15)
    assert_close(safe_sqrt(x), np.sqrt(np.maximum(x, 0)), rtol=1e-15)


def test_the_arcsine_keeps_its_ends():
    assert_close(arcsin(jnp.asarray([-1.0, 1.0, 1 + 1e-15])), np.pi / 2 * np.array([-1, 1, 1]), rtol=1e-15)
