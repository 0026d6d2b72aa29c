"""Rotated inputs: fewer coordinates, the same kernels, and the same training with weights rotated alike."""

import jax
import jax.numpy as jnp
import optax
import pytest

import widelinear as wl
from tests.helpers import assert_close


@pytest.fixture
def images(key):
    return jax.random.normal(key, (6, 40), jnp.float64), jax.random.normal(jax.random.key(1), (3, 40), jnp.float64)


NET = wl.mlp(depth=2, width=16, activation=wl.tanh, w_std=1.3, b_std=0.4)


def test_the_kernels_are_the_same(images):
    train, test = wl.rotate_into_span(*images)
    assert (train.shape, test.shape) == ((6, 9), (3, 9))
    for rotated, original in zip(
        wl.kernel_matrix(NET, test, train), wl.kernel_matrix(NET, images[1], images[0]), strict=True
    ):
        assert_close(rotated, original, rtol=1e-12)


def test_a_network_with_rotated_weights_trains_to_the_same_outputs(images, key):
    """The first layer's weights, in the basis that the inputs were rotated into."""
    stacked = jnp.concatenate(images)
    basis, upper = jnp.linalg.qr(stacked.T)
    assert_close(jnp.concatenate(wl.rotate_into_span(*images)), upper.T * (9 / 40) ** 0.5, atol=1e-12)
    params = NET.init(key, images[0])
    first = params["params"]["layers_0"]
    rotated_params = {"params": params["params"] | {"layers_0": first | {"w": basis.T @ first["w"]}}}
    y = jnp.ones((6, 1))

    def outputs(params, train, test):
        run = wl.train(
            NET.apply, params, train, y, optimizer=optax.sgd(0.5), steps=[30], record=lambda p: NET.apply(p, test)
        )
        return run.records[0]

    assert_close(outputs(rotated_params, *wl.rotate_into_span(*images)), outputs(params, *images), rtol=1e-10)


def test_more_inputs_than_coordinates_stay_as_they_are():
    x = jnp.ones((5, 3))
    assert wl.rotate_into_span(x)[0] is x


def test_images_are_to_be_flattened_first():
    with pytest.raises(ValueError, match="flatten images first"):
        wl.rotate_into_span(jnp.ones((2, 8, 8, 3)))
