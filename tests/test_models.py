"""What is not a network is refused in one sentence."""

import jax
import jax.numpy as jnp
import pytest

from widelinear.models import output_shape

X = jnp.ones((3, 5))


def refused(apply, params, message):
    with pytest.raises(ValueError, match=message):
        output_shape("test", apply, params, X)


def test_the_outputs_of_a_network_are_described():
    assert output_shape("test", lambda w, x: x @ w, jnp.ones((5, 2)), X) == jax.ShapeDtypeStruct((3, 2), X.dtype)


def test_integer_parameters_are_named():
    refused(lambda p, x: x @ p["w"], {"w": jnp.ones((5, 2)), "step": jnp.array(3)}, r"params\['step'\] is int")


@pytest.mark.parametrize(
    "apply",
    [
        lambda w, x: (x @ w)[:, 0],
        lambda w, x: (x @ w, None),
        lambda w, x: (x @ w)[:, None],
    ],
)
def test_outputs_that_are_no_matrix_are_refused(apply):
    refused(apply, jnp.ones((5, 2)), r"shape \(n, k\)")


def test_a_network_that_merges_examples_is_refused():
    refused(lambda w, x: (x @ w).mean(0, keepdims=True), jnp.ones((5, 2)), "n = 3 examples")
