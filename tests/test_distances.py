"""Distances between all pairs of inputs, where a matrix product cannot be trusted."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

from widelinear.distances import half_squared_distances


def directly(x1, x2):
    return ((x1[:, None].astype(float) - x2[None].astype(float)) ** 2).mean(-1) / 2


@pytest.mark.parametrize(("dtype", "rtol"), [(np.float32, 3e-4), (np.float64, 1e-9)])
@pytest.mark.parametrize("offset", [1.0, 1e-2, 1e-4])
def test_near_and_far_pairs_are_right(offset, dtype, rtol):
    rng = np.random.default_rng(0)
    x1 = rng.standard_normal((6, 300)).astype(dtype)
    x2 = np.concatenate([x1[:4] + dtype(offset) * rng.standard_normal((4, 300)).astype(dtype), x1[4:]])
    # Just above the switch at ε^(1/3) the product's error is ε^(2/3) of the distance.
    assert_close(half_squared_distances(jnp.asarray(x1), jnp.asarray(x2)), directly(x1, x2), rtol=rtol)


def test_equal_inputs_are_at_distance_zero_however_many_there_are():
    x = jnp.asarray(np.repeat(np.random.default_rng(0).standard_normal((2, 50)), 4, axis=0))
    distances = np.asarray(half_squared_distances(x, x))
    assert (distances[:4, :4] == 0).all()
    assert (distances[:4, 4:] > 0.5).all()


def test_its_derivatives_are_those_of_the_difference():
    rng = np.random.default_rng(0)
    x1, x2, weights = (jnp.asarray(rng.standard_normal(shape)) for shape in ((3, 5), (4, 5), (3, 4)))
    x2 = x2.at[0].set(x1[0])

    def plain(x1, x2):
        return ((x1[:, None] - x2[None]) ** 2).mean(-1) / 2

    ours, expected = (
        jax.grad(lambda a, b, f=f: (weights * f(a, b)).sum(), (0, 1)) for f in (half_squared_distances, plain)
    )
    for gradient, exact in zip(ours(x1, x2), expected(x1, x2), strict=True):
        assert_close(gradient, exact, atol=1e-13)
