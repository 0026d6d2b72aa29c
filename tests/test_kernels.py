"""Infinite-width kernels: known values, symmetries, and another library's numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

import widelinear as wl

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "neural_tangents.npz"
ROOT2 = 2**0.5


def inputs(n=4, d=6, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, d)))


def images(n=2, side=4, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, side, side, 3)))


def relu_net(depth=3):
    return wl.mlp(depth=depth, width=1, activation=wl.relu, w_std=ROOT2, b_std=0.1**0.5)


@pytest.mark.parametrize(("depth", "nngp", "ntk"), [(3, 2.4, 9.0), (5, 2.6, 14.1)])
def test_relu_values_at_unit_norm_are_those_of_a_hand_calculation(depth, nngp, ntk):
    # K grows by σ_b² a layer, from σ_w² + σ_b², and Θ is the sum of K over the layers.
    x = inputs()
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True) * x.shape[1] ** 0.5
    kernels = wl.kernel_matrix(relu_net(depth), x)
    assert_close(jnp.diag(kernels.nngp), np.full(4, nngp), rtol=1e-13)
    assert_close(jnp.diag(kernels.ntk), np.full(4, ntk), rtol=1e-13)


def test_a_deep_linear_network_has_the_gram_matrix():
    x = inputs()
    kernels = wl.kernel_matrix(wl.mlp(depth=2, width=1, activation=wl.identity, w_std=1.5), x)
    gram = 1.5**6 * x @ x.T / x.shape[1]
    assert_close(kernels.nngp, gram, rtol=1e-12, atol=1e-14)
    assert_close(kernels.ntk, 3 * gram, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(("depth", "terms"), [(0, 0), (1, 1), (3, 3)])
def test_in_standard_parameterization_only_layers_that_read_a_wide_layer_count(depth, terms):
    # Paper, S42: a deep linear network has one term for every layer but the first, each the NNGP over σ_w²; no biases.
    x = inputs()
    net = wl.mlp(depth=depth, width=1, activation=wl.identity, w_std=1.5, parameterization="standard")
    gram = 1.5 ** (2 * depth) * x @ x.T / x.shape[1]
    assert_close(wl.kernel_matrix(net, x).ntk, terms * gram, rtol=1e-12, atol=1e-14)


def test_a_standard_layer_after_flatten_has_weights_for_every_site():
    # Three sites of one width: Θ/n is the sum over sites of the flattened covariance, three times their mean.
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4)))
    net = wl.Serial([wl.Dense(1), wl.Flatten(), wl.Dense(1, parameterization="standard")])
    own = jnp.einsum("ipc,jpc->ij", x, x) / 4
    through = own / 3
    assert_close(wl.kernel_matrix(net, x).ntk, own + through, rtol=1e-12, atol=1e-14)


NETS = {
    "mlp": relu_net(),
    "cnn": wl.cnn(depth=2, channels=1, activation=wl.erf, w_std=1.5, b_std=0.1),
    "flattened": wl.cnn(depth=2, channels=1, pool=False, w_std=ROOT2, padding="VALID", kernel_size=(2, 2)),
    "resnet": wl.wide_resnet(blocks=1, channels=1, pool=(1, 1), w_std=ROOT2),
}


@pytest.mark.parametrize("name", NETS)
def test_kernels_are_symmetric_and_positive_definite(name):
    x = inputs(9) if name == "mlp" else images(9)
    for kernel in wl.kernel_matrix(NETS[name], x):
        assert_close(kernel, kernel.T, rtol=1e-13)
        assert float(jnp.linalg.eigvalsh(kernel)[0]) > 0


def test_rotating_all_inputs_changes_nothing():
    x = inputs()
    rotation, _ = np.linalg.qr(np.random.default_rng(1).standard_normal((6, 6)))
    for kernel, rotated in zip(
        wl.kernel_matrix(relu_net(), x), wl.kernel_matrix(relu_net(), x @ rotation), strict=True
    ):
        assert_close(rotated, kernel, rtol=1e-12)


@pytest.mark.parametrize("name", ["mlp", "flattened", "resnet"])
def test_relu_kernels_without_bias_are_homogeneous(name):
    net = wl.mlp(depth=3, width=1, w_std=1.3) if name == "mlp" else NETS[name]
    x = inputs() if name == "mlp" else images()
    for kernel, scaled in zip(wl.kernel_matrix(net, x), wl.kernel_matrix(net, 3.0 * x), strict=True):
        assert_close(scaled, 9.0 * kernel, rtol=1e-12)


@pytest.mark.parametrize("activation", [wl.relu, wl.erf], ids=repr)
def test_global_pooling_is_the_average_of_flattened_kernels_of_shifted_images(activation):
    # With circular padding a shifted image gives shifted activations, so pooling averages over all relative shifts.
    x1, x2 = images(2), images(1, seed=1)
    settings = {"depth": 2, "channels": 1, "activation": activation, "padding": "CIRCULAR", "w_std": 1.4, "b_std": 0.3}
    pooled, flattened = (wl.cnn(pool=pool, **settings) for pool in (True, False))
    shifts = jnp.concatenate([jnp.roll(x2, (i, j), axis=(1, 2)) for i in range(4) for j in range(4)])
    for over_all, over_equal in zip(
        wl.kernel_matrix(pooled, x1, x2), wl.kernel_matrix(flattened, x1, shifts), strict=True
    ):
        assert_close(over_all[:, 0], over_equal.mean(1), rtol=1e-12)


def test_carrying_all_pairs_of_sites_changes_nothing_where_equal_sites_suffice():
    class AllPairs(wl.Layer):
        def needs(self, after):
            return wl.Needs(joint=True, variances=True, own_joint=True)

        def kernel_rule(self, kernel):
            return kernel

        def __call__(self, x):
            return x

    x1, x2, net = images(2), images(2, seed=1), NETS["flattened"]
    for all_pairs, equal in zip(
        wl.kernel_matrix(wl.Serial([AllPairs(), net]), x1, x2), wl.kernel_matrix(net, x1, x2), strict=True
    ):
        assert_close(all_pairs, equal, rtol=1e-12)


def test_a_layer_of_ones_own_takes_part():
    class Doubled(wl.Layer):
        def __call__(self, x):
            return 2 * x

        def kernel_rule(self, kernel):
            return kernel.each(lambda k: 4 * k, ntk=4 * kernel.ntk, gap=4 * kernel.gap)

    plain = wl.Serial([wl.Dense(1), wl.Dense(1, w_std=2.0)])
    doubled = wl.Serial([wl.Dense(1), Doubled(), wl.Dense(1)])
    for ours, expected in zip(wl.kernel_matrix(doubled, inputs()), wl.kernel_matrix(plain, inputs()), strict=True):
        assert_close(ours, expected, rtol=1e-12, atol=1e-14)


def residual(branch, shortcut=None):
    return wl.Sum([shortcut or wl.Identity(), wl.Serial(branch)])


def reference_nets():
    """The networks whose numbers were frozen (shared/reference/README.md)."""
    dense, conv, act = wl.Dense, wl.Conv, wl.Activate
    leaky, relu = wl.leaky_relu(0.1), wl.relu
    pooled = {"depth": 2, "channels": 1, "w_std": ROOT2, "b_std": 0.1}

    def block(stride):
        branch = [act(relu), conv(1, (3, 3), stride, w_std=ROOT2), act(relu), conv(1, w_std=ROOT2)]
        return residual(branch, conv(1, (3, 3), stride, w_std=ROOT2))

    valid = [conv(1, (3, 3), 2, "VALID", ROOT2), act(relu), conv(1, (3, 3), 1, "VALID", ROOT2), act(relu)]
    return {
        "fc_relu_d3_w2_b0.1": relu_net(),
        "fc_erf_d2_w1.5_b0.05": wl.mlp(depth=2, width=1, activation=wl.erf, w_std=1.5, b_std=0.05),
        "fc_leaky0.1_d2": wl.mlp(depth=2, width=1, activation=leaky, w_std=1.2, b_std=0.2),
        "fc_gelu_d2": wl.mlp(depth=2, width=1, activation=wl.gelu, w_std=1.4, b_std=0.1),
        "fc_sin_d1": wl.mlp(depth=1, width=1, activation=wl.sin, w_std=1.3, b_std=0.3),
        "fc_residual_relu": wl.Serial(
            [dense(1, 1.4, 0.1), residual([act(relu), dense(1, 1.1, 0.2)]), act(relu), dense(1)]
        ),
        "conv_relu_same_flatten": wl.cnn(pool=False, **pooled),
        "conv_relu_same_gap": wl.cnn(**pooled),
        "conv_erf_circular_gap": wl.cnn(
            depth=2, channels=1, activation=wl.erf, padding="CIRCULAR", w_std=1.5, b_std=0.1
        ),
        "conv_relu_valid_stride2_flatten": wl.Serial([*valid, wl.Flatten(), dense(1, ROOT2)]),
        "wide_resnet": wl.Serial(
            [conv(1, w_std=ROOT2), block(1), block(2), wl.AvgPool((4, 4)), wl.Flatten(), dense(1, ROOT2)]
        ),
    }


@pytest.mark.skipif(not REFERENCE.exists(), reason="the frozen neural-tangents numbers are not beside this checkout")
@pytest.mark.parametrize("name", reference_nets())
def test_neural_tangents_numbers_are_met(name):
    with np.load(REFERENCE, allow_pickle=False) as reference:
        kind = "vec" if name.startswith("fc_") else "img"
        x1, x2 = (jnp.asarray(reference[f"{kind}_{k}"], jnp.float64) for k in ("x1", "x2"))
        theirs = {key: reference[f"{name}/{key}"] for key in ("nngp", "ntk", "nngp_11", "ntk_11")}
    net = reference_nets()[name]
    between, within = wl.kernel_matrix(net, x1, x2), wl.kernel_matrix(net, x1)
    for kernel in ("nngp", "ntk"):
        assert_close(getattr(between, kernel), theirs[kernel], rtol=1e-10)
        ours, diagonal = getattr(within, kernel), theirs[f"{kernel}_11"]
        assert_close(ours[~np.eye(len(x1), dtype=bool)], diagonal[~np.eye(len(x1), dtype=bool)], rtol=1e-10)
        # Their angle of an input with itself is √ε, not 0; ours is exact (test_matrices.py).
        assert_close(jnp.diag(ours), np.diag(diagonal), rtol=1e-8)


@pytest.mark.skipif(not REFERENCE.exists(), reason="the frozen neural-tangents numbers are not beside this checkout")
@pytest.mark.parametrize("name", ["fc_erf_d2_w1.5_b0.05", "fc_gelu_d2", "conv_relu_same_gap"])
def test_in_float32_the_errors_are_a_few_roundings_of_the_variances(name):
    # An entry may be small because large terms cancel, so errors are measured on the scale of the diagonal.
    with np.load(REFERENCE, allow_pickle=False) as reference:
        x = jnp.asarray(reference["vec_x1" if name.startswith("fc_") else "img_x1"], jnp.float32)
        theirs = [reference[f"{name}/{key}"] for key in ("nngp_11", "ntk_11")]
    for ours, exact in zip(wl.kernel_matrix(reference_nets()[name], x), theirs, strict=True):
        scale = np.sqrt(np.outer(np.diag(exact), np.diag(exact)))
        assert (np.abs(np.asarray(ours, float) - exact) / scale).max() < 16 * np.finfo(np.float32).eps


def test_gradients_in_hyperparameters_are_those_of_finite_differences():
    x = images(2)

    def total(w_std, b_std):
        net = wl.cnn(depth=2, channels=1, pool=False, w_std=w_std, b_std=b_std)
        return wl.kernel_matrix(net, x).ntk.sum()

    step = 1e-5
    for index, gradient in enumerate(jax.grad(total, (0, 1))(1.3, 0.4)):
        shift = np.eye(2)[index] * step
        difference = (total(*(np.array([1.3, 0.4]) + shift)) - total(*(np.array([1.3, 0.4]) - shift))) / (2 * step)
        assert_close(gradient, difference, rtol=1e-7)
