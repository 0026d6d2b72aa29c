"""Small networks as plain functions, with what a tangent kernel may meet: shared sites, shared weights, scales."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax


def drawn(shapes, seed=0):
    """Parameters of the given shapes, standard normal. NumPy draws them: `jax.random` compiles for every shape."""
    rng = np.random.default_rng(seed)
    return {name: jnp.asarray(rng.standard_normal(shape)) for name, shape in shapes.items()}


def convolution(x, w, strides=(1, 1), padding="VALID", **options):
    return lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), **options)


def circular(params, x):
    """The layer of `nets`: a scaled convolution of wrapped images, with a bias, then the mean over all places."""
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="wrap")
    x = jnp.tanh(0.4 * convolution(x, params["w"]) + params["b"].reshape(1, 1, 1, -1))
    return 0.5 * x.mean((1, 2)) @ params["readout"]


def strided(params, x):
    """Strides, dilation and one-sided padding; every place is read out."""
    x = jnp.tanh(convolution(x, params["w"], (2, 1), ((0, 1), (1, 1))))
    x = convolution(x, params["w2"], (1, 1), "SAME", rhs_dilation=(1, 2))
    return x.reshape(len(x), -1) @ params["readout"]


def grouped(params, x):
    """A depthwise convolution, which is not recognised."""
    x = convolution(x, params["w"], padding="SAME", feature_group_count=2)
    return jnp.tanh(x).mean((1, 2)) @ params["readout"]


def tokens(params, x):
    """One matrix for all places of a sequence, standard scaling of the weight itself, and a normalization scale."""
    h = jnp.tanh(x @ (params["w"] / 2.0))
    h = h / jnp.sqrt((h**2).mean(-1, keepdims=True)) * params["scale"].reshape(1, 1, -1)
    return h.mean(1) @ params["readout"]


def tied(params, x):
    """A weight that is used twice, one that is not used, and calls inside the network."""
    layer = jax.jit(lambda w, h: jnp.tanh(h @ w))
    h = jax.checkpoint(layer)(params["w"], layer(params["w"], x))
    return h @ params["readout"]


NETWORKS = {
    "circular": (circular, {"w": (3, 3, 2, 4), "b": (4,), "readout": (4, 3)}, (4, 4, 2)),
    "strided": (strided, {"w": (3, 2, 2, 4), "w2": (3, 3, 4, 2), "readout": (30, 3)}, (6, 4, 2)),
    "grouped": (grouped, {"w": (3, 3, 1, 4), "readout": (4, 3)}, (4, 4, 2)),
    "tokens": (tokens, {"w": (5, 6), "scale": (6,), "readout": (6, 3)}, (4, 5)),
    "tied": (tied, {"w": (5, 5), "unused": (7,), "readout": (5, 3)}, (5,)),
}


def example(name, n=3, seed=0):
    """Apply, parameters and n inputs of one of `NETWORKS`."""
    apply, shapes, sites = NETWORKS[name]
    return apply, drawn(shapes, seed), drawn({"x": (n, *sites)}, seed + 1)["x"]
