"""The oracles against what is known by hand."""

import math

import jax.numpy as jnp
from helpers import assert_close

from widelinear import oracles


def test_gaussian_moments_are_those_of_the_covariance():
    cov, var1, var2 = 0.4, 1.5, 2.0
    fourth = oracles.gaussian_pair_mean(lambda u, v: u**2 * v**2, cov, var1, var2)
    assert_close(fourth, var1 * var2 + 2 * cov**2, rtol=1e-10)
    assert_close(oracles.gaussian_pair_mean(lambda u, v: u, cov, var1, var2), 0.0, atol=1e-12)


def test_the_polar_oracle_counts_quadrants_and_moments():
    cov, var1, var2 = -0.4, 1.5, 2.0
    rho = cov / (var1 * var2) ** 0.5
    quadrant = oracles.kinked_pair_mean(lambda u, v: ((u > 0) & (v > 0)).astype(float), cov, var1, var2)
    assert_close(quadrant, 0.25 + math.asin(rho) / (2 * math.pi), atol=1e-13)  # Sheppard's formula
    fourth = oracles.kinked_pair_mean(lambda u, v: u**2 * v**2, cov, var1, var2)
    assert_close(fourth, var1 * var2 + 2 * cov**2, rtol=1e-12)


def test_the_jacobian_kernel_of_a_linear_model_is_the_gram_matrix():
    x1, x2 = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[5.0, 6.0]])
    ntk = oracles.jacobian_ntk(lambda w, x: x @ w, jnp.zeros((2, 1)), x1, x2)
    assert_close(ntk[:, :, 0, 0], x1 @ x2.T, atol=1e-14)


def test_gradient_descent_takes_the_step_of_a_hand_calculation():
    x, y = jnp.array([[2.0]]), jnp.array([[3.0]])
    params = oracles.gradient_descent(lambda w, x: x @ w, jnp.array([[1.0]]), x, y, learning_rate=0.1, steps=2)
    assert_close(params, jnp.array([[1.32]]), rtol=1e-12)  # 1 → 1 + 0.1·2·1 = 1.2 → 1.2 + 0.1·2·0.6 = 1.32
