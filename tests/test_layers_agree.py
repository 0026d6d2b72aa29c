"""A layer is defined twice, finite and infinite: the first must converge to the second like 1/√width."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import relative_gap, slope

import widelinear as wl
from widelinear import activations
from widelinear.activations import Activation

WIDTHS = [16, 32, 64, 128, 256]
ALL = [a for a in vars(activations).values() if isinstance(a, Activation)]


@pytest.fixture(scope="module")
def draws():
    """64 networks of every width. Their parameters do not depend on the activation, so one draw serves all.

    NumPy draws them, as `init` does (`test_nets.py` holds it to standard normals), without a minute of compiling.
    """
    rng = np.random.default_rng(0)
    shapes = {width: jax.eval_shape(net(width).init, jax.random.key(0), jnp.ones((1, 8))) for width in WIDTHS}
    return jax.tree.map(lambda s: jnp.asarray(rng.standard_normal((64, *s.shape))), shapes)


def net(width, activation=wl.relu):
    return wl.mlp(depth=2, width=width, activation=activation, w_std=1.4, b_std=0.3)


def empirical_kernels(net, params, x):
    """Both kernels of one network; the NNGP averaged over the readout's weights, a mean that is known."""
    hidden, readout = wl.Serial(net.layers[:-1]), net.layers[-1]
    features = hidden.apply(params, x)
    nngp = readout.w_std**2 / features.shape[1] * features @ features.T + readout.b_std**2
    return nngp, wl.empirical_ntk(net.apply, params, x, batch_size=len(x))[:, :, 0, 0]


def gaps(net, params, x):
    """Root-mean-square relative gap of the empirical (NNGP, NTK) to their limits."""
    kernels = jax.jit(jax.vmap(lambda p: empirical_kernels(net, p, x)))(params)
    return [
        np.sqrt(np.mean([relative_gap(one, limit) ** 2 for one in of_all]))
        for of_all, limit in zip(kernels, wl.kernel_matrix(net, x), strict=True)
    ]


@pytest.mark.parametrize("activation", ALL, ids=repr)
def test_empirical_kernels_converge_with_slope_minus_one_half(activation, draws, key):
    x = jax.random.normal(key, (6, 8), jnp.float64)
    gap = np.array([gaps(net(width, activation), draws[width], x) for width in WIDTHS])
    for kernel in (0, 1):
        assert -0.6 < slope(WIDTHS, gap[:, kernel]) < -0.4
