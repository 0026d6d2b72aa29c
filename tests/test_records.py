"""What a run records, by hand."""

import jax.numpy as jnp
from helpers import assert_close

import widelinear as wl


def test_a_layer_moves_relative_to_its_own_length_weights_and_biases_together():
    params0 = {"a": {"w": jnp.array([[3.0]]), "b": jnp.array([4.0])}, "c": {"w": jnp.array([2.0, 0.0])}}
    params = {"a": {"w": jnp.array([[3.0]]), "b": jnp.array([6.0])}, "c": {"w": jnp.array([2.0, 3.0])}}
    change = wl.relative_change(params, params0)
    assert {layer: float(value) for layer, value in change.items()} == {"a": 2 / 5, "c": 3 / 2}


def test_kernels_are_compared_in_frobenius_norm():
    kernel0 = jnp.array([[3.0, 0.0], [0.0, 4.0]])
    assert_close(wl.relative_distance(kernel0 + 1, kernel0), 2 / 5, rtol=1e-15)


def test_the_distance_of_outputs_is_a_mean_over_examples_and_outputs():
    assert_close(wl.rmse(jnp.ones((2, 3)), jnp.ones((2, 3)).at[0, 0].set(7.0)), 6**0.5, rtol=1e-15)


def test_accuracy_compares_largest_outputs_or_signs():
    outputs, y = jnp.array([[1.0, 2.0], [3.0, 0.0], [0.0, 1.0]]), jnp.array([[-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5]])
    assert_close(wl.accuracy(outputs, y), 2 / 3, rtol=1e-15)
    assert_close(wl.accuracy(outputs[:, :1], y[:, 1:]), 2 / 3, rtol=1e-15)
