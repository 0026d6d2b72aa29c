"""Finite layers by hand, the kernels that can be checked by hand, and what layers refuse."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from helpers import assert_close

import widelinear as wl

RNG = np.random.default_rng(0)
IMAGES = jnp.asarray(RNG.standard_normal((2, 5, 6, 3)))
NOTHING = wl.Needs()


def drawn(module, x, seed=1):
    """Parameters as `init` shapes them, drawn by NumPy because that compiles nothing."""
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(module.init, jax.random.key(0), x)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape)), shapes)


def sum_over_offsets(x, w, stride, starts):
    """The convolution of the docstring, site by site; `starts` says where the first window begins, sites wrap."""
    height, width = x.shape[1:3]
    out = []
    for row in range(starts[0], height if starts[2] else height - w.shape[0] + 1, stride):
        sites = []
        for column in range(starts[1], width if starts[2] else width - w.shape[1] + 1, stride):
            patch = x[:, [(row + i) % height for i in range(w.shape[0])]]
            patch = patch[:, :, [(column + j) % width for j in range(w.shape[1])]]
            sites.append(np.einsum("nijc,ijcf->nf", patch, w))
        out.append(sites)
    return np.moveaxis(np.array(out), 2, 0)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_valid_convolution_is_the_equation(stride):
    layer = wl.Conv(4, (2, 3), stride, "VALID", w_std=1.5, b_std=0.3)
    params = drawn(layer, IMAGES)
    w, b = (np.asarray(params["params"][name]) for name in "wb")
    expected = 1.5 / np.sqrt(2 * 3 * 3) * sum_over_offsets(np.asarray(IMAGES), w, stride, (0, 0, False)) + 0.3 * b
    assert_close(layer.apply(params, IMAGES), expected, atol=1e-13)


def test_a_circular_convolution_wraps():
    layer = wl.Conv(4, padding="CIRCULAR")
    params = drawn(layer, IMAGES)
    shifted = np.roll(np.asarray(IMAGES), (1, 1), axis=(1, 2))  # the window of site 0 begins at site −1
    expected = sum_over_offsets(shifted, np.asarray(params["params"]["w"]), 1, (0, 0, True)) / np.sqrt(27)
    assert_close(layer.apply(params, IMAGES), expected, atol=1e-13)


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_average_pooling_is_that_of_flax(padding):
    with jax.numpy_dtype_promotion("standard"):
        expected = nn.avg_pool(IMAGES, (2, 3), (2, 1), padding)
    assert_close(wl.AvgPool((2, 3), (2, 1), padding).apply({}, IMAGES), expected, atol=1e-14)
    assert_close(wl.SumPool((2, 3), (2, 1), padding).apply({}, IMAGES), 6 * expected, atol=1e-13)


def test_global_pooling_and_flattening_by_hand():
    assert_close(wl.GlobalAvgPool().apply({}, IMAGES), np.asarray(IMAGES).mean((1, 2)), atol=1e-14)
    assert_close(wl.Flatten().apply({}, IMAGES), np.asarray(IMAGES).reshape(2, -1))


def test_layer_norm_is_that_of_flax():
    with jax.numpy_dtype_promotion("standard"):
        expected = nn.LayerNorm(epsilon=1e-3, use_bias=False, use_scale=False).apply({}, IMAGES)
    assert_close(wl.LayerNorm(1e-3).apply({}, IMAGES), expected, atol=1e-12)


def pairs(sites, seed=2):
    """A Kernel between all pairs of sites of a one-dimensional image, as arbitrary numbers."""
    nngp, ntk, var1, var2 = np.random.default_rng(seed).standard_normal((4, sites, sites))
    return wl.Kernel(*map(jnp.asarray, (nngp, ntk, var1, var2)), sites=1)


@pytest.mark.parametrize(("layer", "scale"), [(wl.SumPool((2,)), 1), (wl.AvgPool((2,)), 1 / 4)])
def test_pooled_kernels_sum_over_both_windows(layer, scale):
    before = pairs(4)
    after = layer.kernel_rule(before)
    for name in ("nngp", "ntk", "var1", "var2"):
        blocks = np.asarray(getattr(before, name)).reshape(2, 2, 2, 2).sum((1, 3))
        assert_close(getattr(after, name), scale * blocks, atol=1e-14)


def test_a_global_mean_averages_all_pairs_and_flatten_only_equal_sites():
    before = pairs(4)
    assert_close(wl.GlobalAvgPool().kernel_rule(before).ntk, np.asarray(before.ntk).mean(), atol=1e-14)
    assert_close(wl.Flatten().kernel_rule(before).ntk, np.diag(before.ntk).mean(), atol=1e-14)


def test_needs_go_from_the_output_back_to_the_input():
    def needs(*layers):
        return wl.Serial(layers).needs(NOTHING)

    conv, act = wl.Conv(1), wl.Activate(wl.relu)
    assert needs(conv, act, wl.Flatten()) == wl.Needs(variances=True)
    assert needs(conv, wl.GlobalAvgPool(), wl.Dense(1)) == wl.Needs(joint=True)
    assert needs(conv, act, wl.GlobalAvgPool()) == wl.Needs(joint=True, variances=True)
    assert needs(conv, wl.AvgPool(), conv, act, wl.Flatten()) == wl.Needs(joint=True, variances=True, own_joint=True)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (lambda: wl.Conv(1, (3, 0)), "all at least 1"),
        (lambda: wl.Conv(1, (3, 3), (1, 1, 1)), "as many strides"),
        (lambda: wl.Conv(1, padding="REFLECT"), "SAME, VALID, CIRCULAR, but came as 'REFLECT'"),
        (lambda: wl.Dense(1, parameterization="mup").apply({}, IMAGES), '"ntk" or "standard", but came as \'mup\''),
        (lambda: wl.Conv(1, (3,)).init(jax.random.key(0), IMAGES), "these have 2 site axes"),
        (lambda: wl.cnn(depth=0, channels=1), "at least 1"),
        (lambda: wl.wide_resnet(blocks=1, channels=0), "at least 1"),
    ],
)
def test_layers_that_cannot_be_are_refused(layer, message):
    with pytest.raises(ValueError, match=message):
        layer()


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="expected Flax modules"):
        wl.Serial([jnp.tanh])


class MaxPool(nn.Module):
    """A layer without a limit."""

    def __call__(self, x):
        return nn.max_pool(x, (2, 2))


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([wl.Conv(1), MaxPool(), wl.Flatten()], "MaxPool has no infinite-width limit here.*monte_carlo_kernels"),
        ([wl.Activate(wl.relu), wl.Flatten(), wl.Dense(1)], "Activate.*the values before it are not Gaussian"),
        ([wl.Conv(1), wl.Activate(wl.relu), wl.LayerNorm(), wl.Flatten()], "LayerNorm.*not Gaussian"),
        ([wl.Flatten(), wl.Dense(1), wl.GlobalAvgPool()], "inputs without sites"),
        ([wl.Conv(1), wl.Dense(1)], r"still has sites \(5, 6\); end it with"),
        ([wl.Flatten(), wl.Dense(1), wl.Sum([wl.Activate(wl.relu), wl.Activate(wl.erf)])], "at most one branch"),
        ([wl.Sum([wl.Conv(1), wl.Conv(1, strides=2)]), wl.Flatten()], "equal sites"),
    ],
)
def test_networks_without_a_limit_say_so(layers, message):
    with pytest.raises(ValueError, match=message):
        wl.kernel_matrix(wl.Serial(layers), IMAGES)


@pytest.mark.parametrize("net", [wl.mlp, wl.cnn], ids=["mlp", "cnn"])
def test_both_parameterizations_are_one_function_class(net):
    # W = σ_w ω / √n_in and b = σ_b β give the same function (paper, S36).
    size = {"channels": 5} if net is wl.cnn else {"width": 5}
    ntk, standard = (net(depth=2, w_std=1.5, b_std=0.3, parameterization=name, **size) for name in ("ntk", "standard"))
    x = IMAGES if net is wl.cnn else IMAGES.reshape(2, -1)
    params = drawn(ntk, x)

    def rescaled(path, leaf):
        fan_in = leaf.size // leaf.shape[-1]
        return leaf * (1.5 / fan_in**0.5 if path[-1].key == "w" else 0.3)

    same = jax.tree_util.tree_map_with_path(rescaled, params)
    assert_close(standard.apply(same, x), ntk.apply(params, x), rtol=1e-12, atol=1e-14)
    stds = jax.tree.map(jnp.std, standard.init(jax.random.key(0), x)["params"]["layers_2"])
    assert 0.5 * 1.5 < stds["w"] * (5 * (9 if net is wl.cnn else 1)) ** 0.5 < 1.5 * 1.5
    assert 0.1 < stds["b"] < 0.6
