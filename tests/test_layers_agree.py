"""A layer is defined twice, finite and infinite: the first must converge to the second like 1/√width."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import relative_gap, slope

import widelinear as wl
from widelinear import activations, layers, nets
from widelinear.activations import Activation

WIDTHS = [16, 64, 256]
DRAWS = 64
STANDARD = {"parameterization": "standard"}


def dense(n, activation=wl.relu):
    # At larger variance the squares of exp(u) have tails that 64 networks of any width here do not average.
    return wl.mlp(depth=1, width=n, activation=activation, w_std=0.3 if activation is wl.exp else 1.4, b_std=0.3)


NETS = {
    "standard": lambda n: wl.mlp(depth=1, width=n, w_std=1.4, b_std=0.1, **STANDARD),
    "residual": lambda n: wl.Serial(
        [
            wl.Dense(n, 1.4, 0.3),
            wl.Sum([wl.Identity(), wl.Serial([wl.Activate(wl.relu), wl.Dense(n, 1.1)])]),
            wl.LayerNorm(),
            wl.Activate(wl.relu),
            wl.Dense(1, 1.2, 0.2),
        ]
    ),
    "flattened": lambda n: wl.Serial(
        [
            wl.Conv(n, (3,), w_std=1.4, b_std=0.3),
            wl.Activate(wl.relu),
            wl.Conv(n, (2,), 2, "VALID", 1.4),
            wl.Activate(wl.erf),
            wl.Flatten(),
            wl.Dense(1, 1.2, 0.2),
        ]
    ),
    "pooled twice": lambda n: wl.Serial(
        [
            wl.Conv(n, (3,), 1, "CIRCULAR", 1.4, 0.3),
            wl.Activate(wl.relu),
            wl.AvgPool((2,)),
            wl.Conv(n, (2,), w_std=1.4),
            wl.Activate(wl.relu),
            wl.GlobalAvgPool(),
            wl.Dense(1, 1.2, 0.2),
        ]
    ),
    "summed, standard": lambda n: wl.Serial(
        [
            wl.Conv(n, (2,), w_std=1.4, **STANDARD),
            wl.Activate(wl.relu),
            wl.SumPool((2,)),
            wl.Conv(n, (2,), w_std=1.4, **STANDARD),
            wl.Activate(wl.relu),
            wl.Flatten(),
            wl.Dense(1, 1.2, **STANDARD),
        ]
    ),
}
VECTORS = ("standard", "residual")
# Narrow networks have terms in 1/n beside those in 1/√n: the input layer's part of the standard kernel, and what
# several layers do to each other's fluctuations.
WIDER = {"standard": 8, "residual": 4}


def drawn(net, x, draws=DRAWS):
    """Networks, drawn by NumPy as `init` draws them (`test_nets.py` holds it to that): that compiles nothing."""
    rng = np.random.default_rng(0)
    standard = all(layer.parameterization == "standard" for layer in net.layers if hasattr(layer, "w_std"))

    def draw(path, leaf):
        normals = jnp.asarray(rng.standard_normal((draws, *leaf.shape)))
        if not standard:
            return normals
        layer = net.layers[int(path[-2].key.removeprefix("layers_"))]
        return normals * (layer.b_std if path[-1].key == "b" else layer.w_std / (leaf.size // leaf.shape[-1]) ** 0.5)

    shapes = jax.eval_shape(net.init, jax.random.key(0), x)
    return jax.tree_util.tree_map_with_path(draw, shapes), standard


def empirical_kernels(net, params, x):
    """Both kernels of one network; the NNGP averaged over the readout's weights, a mean that is known."""
    hidden, readout = wl.Serial(net.layers[:-1]), net.layers[-1]
    features = hidden.apply(params, x)
    nngp = readout.w_std**2 / features.shape[1] * features @ features.T + readout.b_std**2
    return nngp, wl.empirical_ntk(net.apply, params, x, outputs=0)


def gaps(net, width, x):
    """Root-mean-square relative gap of the empirical (NNGP, NTK) to their limits."""
    params, standard = drawn(net, x)
    nngp, ntk = jax.jit(lambda params: jax.lax.map(lambda p: empirical_kernels(net, p, x), params))(params)
    limits = wl.kernel_matrix(net, x)
    return [
        np.sqrt(np.mean([relative_gap(one, limit) ** 2 for one in of_all]))
        for of_all, limit in zip((nngp, ntk / width if standard else ntk), limits, strict=True)
    ]


def assert_converges(build, x, widths=WIDTHS):
    gap = np.array([gaps(build(width), width, x) for width in widths])
    for kernel, name in enumerate(("NNGP", "NTK")):
        if gap[:, kernel].max() > 1e-12:  # an odd case: it may be exact at any width
            assert -0.6 < slope(widths, gap[:, kernel]) < -0.4, name


def every_activation():
    return [a for a in vars(activations).values() if isinstance(a, Activation)]


@pytest.mark.parametrize("activation", every_activation(), ids=repr)
def test_kernels_with_every_activation_converge_with_slope_minus_one_half(activation):
    x = jnp.asarray(np.random.default_rng(1).standard_normal((6, 8)))
    assert_converges(lambda n: dense(n, activation), x)


@pytest.mark.parametrize("name", NETS)
def test_kernels_with_every_layer_converge_with_slope_minus_one_half(name):
    shape = (4, 6) if name in VECTORS else (4, 5, 3)
    widths = [WIDER.get(name, 1) * width for width in WIDTHS]
    assert_converges(NETS[name], jnp.asarray(np.random.default_rng(1).standard_normal(shape)), widths)


def test_with_one_hidden_layer_averages_of_networks_converge_like_those_of_units():
    # T4 of the paper (Figures S9, S10): both kernels are means over units, so M networks of width n count as nM units.
    x, net = jnp.asarray(np.random.default_rng(1).standard_normal((4, 8))), dense(16)
    params, _ = drawn(net, x, draws=4096)
    of_networks = jax.jit(jax.vmap(lambda p: empirical_kernels(net, p, x)))(params)
    counts = [1, 2, 4, 8, 16, 32]
    for kernels, limit in zip(of_networks, wl.kernel_matrix(net, x), strict=True):
        means = [np.asarray(kernels).reshape(-1, count, 4, 4).mean(1) for count in counts]
        gap = [np.sqrt(np.mean([relative_gap(one, limit) ** 2 for one in of_count])) for of_count in means]
        assert -0.55 < slope(counts, gap) < -0.45


def inside(module):
    yield type(module)
    for child in (*getattr(module, "layers", ()), *getattr(module, "branches", ())):
        yield from inside(child)


def test_no_layer_is_left_out():
    public = {
        cls
        for file in (layers, nets)
        for name, cls in vars(file).items()
        if inspect.isclass(cls) and issubclass(cls, wl.Layer) and not name.startswith("_")
    }
    assert public - {wl.Layer} <= {kind for build in NETS.values() for kind in inside(build(1))}
