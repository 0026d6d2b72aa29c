"""Sampled kernels against single networks, and against the limit."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

import widelinear as wl

NET = wl.mlp(depth=1, width=256, outputs=2, w_std=1.4, b_std=0.2)
X = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4)))


def init(key, x):
    """Any function of a key and inputs will do; this one compiles quickly."""
    shapes = jax.eval_shape(NET.init, key, x)
    leaves, tree = jax.tree.flatten(shapes)
    keys = jax.random.split(key, len(leaves))
    return tree.unflatten([jax.random.normal(k, leaf.shape, leaf.dtype) for k, leaf in zip(keys, leaves, strict=True)])


def test_means_and_errors_are_those_of_single_networks(key):
    sampled = wl.monte_carlo_kernels(init, NET.apply, X[:2], X, key=key, samples=5)
    single = [wl.empirical_ntk(NET.apply, init(k, X), X[:2], X, outputs="mean") for k in jax.random.split(key, 5)]
    assert_close(sampled.mean.ntk, np.mean(single, 0), rtol=1e-12)
    assert_close(sampled.standard_error.ntk, np.std(single, 0, ddof=1) / 5**0.5, rtol=1e-10)


def test_the_limit_is_within_the_errors(key):
    # Both kernels of one hidden layer are unbiased at any width, so that the distance is the standard error's alone.
    sampled, limit = wl.monte_carlo_kernels(init, NET.apply, X, key=key, samples=100), wl.kernel_matrix(NET, X)
    for mean, error, exact in zip(sampled.mean, sampled.standard_error, limit, strict=True):
        scores = np.asarray((mean - exact) / error)[np.triu_indices(3)]
        assert 0.2 < np.sqrt(np.mean(scores**2)) < 2.2


def test_many_coordinates_are_rotated_into_few(key):
    pixels = jnp.asarray(np.random.default_rng(1).standard_normal((3, 40)))
    ours = partial(wl.monte_carlo_kernels, NET.init, NET.apply, key=key)
    as_they_are = partial(wl.monte_carlo_kernels, lambda *drawn: NET.init(*drawn), NET.apply, key=key)
    rotated = wl.rotate_into_span(pixels[:2], pixels)
    assert_close(ours(pixels[:2], pixels, samples=2).mean, as_they_are(*rotated, samples=2).mean, rtol=1e-12)
    one, other = ours(pixels, samples=100), as_they_are(pixels, samples=100)
    for a, b, error in zip(one.mean, other.mean, other.standard_error, strict=True):
        scores = np.asarray((a - b) / error)[np.triu_indices(3)]
        assert 0.2 < np.sqrt(np.mean(scores**2) / 2) < 2.2


def test_in_standard_parameterization_inputs_stay_as_they_are(key):
    net, pixels = wl.mlp(depth=1, width=8, parameterization="standard"), jnp.eye(2, 5)  # its kernel counts coordinates
    sampled = wl.monte_carlo_kernels(net.init, net.apply, pixels, key=key, samples=2)
    single = [wl.empirical_ntk(net.apply, net.init(k, pixels), pixels, outputs="mean") for k in jax.random.split(key)]
    assert_close(sampled.mean.ntk, np.mean(single, 0), rtol=1e-12)


def test_one_sample_has_no_error(key):
    with pytest.raises(ValueError, match="samples must be at least 2, but came 1"):
        wl.monte_carlo_kernels(init, NET.apply, X, key=key, samples=1)
