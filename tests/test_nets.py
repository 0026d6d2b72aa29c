"""Finite networks: what `init` draws, what `apply` computes, and what the module itself is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from helpers import assert_close

import widelinear as wl


def test_every_parameter_is_drawn_from_a_standard_normal(key):
    params = wl.mlp(depth=1, width=64, outputs=64, b_std=0.1).init(key, jnp.ones((1, 64)))
    weights, biases = [], []
    for layer in params["params"].values():
        weights.append(layer["w"].ravel())
        biases.append(layer["b"].ravel())
    for draws in (np.concatenate(weights), np.concatenate(biases)):
        assert scipy.stats.kstest(draws, "norm").pvalue > 0.01


def test_a_dense_layer_is_the_equation_of_the_paper(key):
    x = jax.random.normal(key, (3, 5), jnp.float64)
    layer = wl.Dense(4, w_std=1.5, b_std=0.3)
    params = layer.init(key, x)
    w, b = np.asarray(params["params"]["w"]), np.asarray(params["params"]["b"])
    assert_close(layer.apply(params, x), 1.5 / np.sqrt(5) * np.asarray(x) @ w + 0.3 * b, rtol=1e-13, atol=1e-14)


def test_without_bias_there_is_no_bias_parameter(key):
    assert set(wl.Dense(4).init(key, jnp.ones((1, 3)))["params"]) == {"w"}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_parameters_and_outputs_have_the_dtype_of_the_inputs(key, dtype):
    net, x = wl.mlp(depth=2, width=4, b_std=0.1), jnp.ones((2, 3), dtype)
    params = net.init(key, x)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
    assert net.apply(params, x).dtype == dtype


def test_networks_are_equal_by_value_and_can_be_static_arguments():
    one, same, other = (wl.mlp(depth=2, width=width) for width in (8, 8, 9))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other


def test_a_network_without_hidden_layers_is_a_linear_model(key):
    x = jax.random.normal(key, (3, 5), jnp.float64)
    net = wl.mlp(depth=0, width=1, w_std=2.0)
    params = net.init(key, x)
    assert_close(net.apply(params, x), 2.0 / np.sqrt(5) * x @ params["params"]["layers_0"]["w"], rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda: wl.mlp(depth=-1, width=2), "mlp: depth must be at least 0, but came -1"),
        (lambda: wl.mlp(depth=1, width=0), "mlp: width must be at least 1, but came 0"),
        (lambda: wl.cnn(depth=0, channels=2), "cnn: depth must be at least 1, but came 0"),
        (lambda: wl.wide_resnet(blocks=1, channels=0), "wide_resnet: channels must be at least 1, but came 0"),
    ],
)
def test_impossible_sizes_are_refused(build, complaint):
    with pytest.raises(ValueError, match=complaint):
        build()


def test_the_infinite_network_needs_no_parameters():
    assert wl.kernel_matrix(wl.mlp(depth=2, width=2**60), jnp.eye(3)).ntk.shape == (3, 3)
