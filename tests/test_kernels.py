"""Infinite-width kernels: known values, symmetries, and another library's numbers."""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close

import widelinear as wl

REFERENCE = Path(__file__).parents[2] / "shared" / "reference" / "neural_tangents.npz"


def inputs(key, n=4, d=6):
    return jax.random.normal(key, (n, d), jnp.float64)


def relu_net(depth=3):
    return wl.mlp(depth=depth, width=1, activation=wl.relu, w_std=2**0.5, b_std=0.1**0.5)


@pytest.mark.parametrize(("depth", "nngp", "ntk"), [(3, 2.4, 9.0), (5, 2.6, 14.1)])
def test_relu_values_at_unit_norm_are_those_of_a_hand_calculation(key, depth, nngp, ntk):
    # K grows by σ_b² a layer, from σ_w² + σ_b², and Θ is the sum of K over the layers.
    x = inputs(key)
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True) * x.shape[1] ** 0.5
    kernels = wl.kernel_matrix(relu_net(depth), x)
    assert_close(jnp.diag(kernels.nngp), np.full(4, nngp), rtol=1e-13)
    assert_close(jnp.diag(kernels.ntk), np.full(4, ntk), rtol=1e-13)


def test_a_deep_linear_network_has_the_gram_matrix(key):
    x = inputs(key)
    kernels = wl.kernel_matrix(wl.mlp(depth=2, width=1, activation=wl.identity, w_std=1.5), x)
    gram = 1.5**6 * x @ x.T / x.shape[1]
    assert_close(kernels.nngp, gram, rtol=1e-12)
    assert_close(kernels.ntk, 3 * gram, rtol=1e-12)


def test_kernels_are_symmetric_and_positive_definite(key):
    for kernel in wl.kernel_matrix(relu_net(), inputs(key, 20)):
        assert_close(kernel, kernel.T, rtol=1e-13)
        assert float(jnp.linalg.eigvalsh(kernel)[0]) > 0


def test_rotating_all_inputs_changes_nothing(key):
    x = inputs(key)
    rotation, _ = jnp.linalg.qr(jax.random.normal(jax.random.fold_in(key, 1), (6, 6), jnp.float64))
    for kernel, rotated in zip(
        wl.kernel_matrix(relu_net(), x), wl.kernel_matrix(relu_net(), x @ rotation), strict=True
    ):
        assert_close(rotated, kernel, rtol=1e-12)


def test_relu_kernels_without_bias_are_homogeneous(key):
    net = wl.mlp(depth=3, width=1, activation=wl.relu, w_std=1.3)
    x = inputs(key)
    for kernel, scaled in zip(wl.kernel_matrix(net, x), wl.kernel_matrix(net, 3.0 * x), strict=True):
        assert_close(scaled, 9.0 * kernel, rtol=1e-12)


def test_x2_by_default_is_x1(key):
    x = inputs(key)
    for same, both in zip(wl.kernel_matrix(relu_net(), x), wl.kernel_matrix(relu_net(), x, x), strict=True):
        # Off the diagonal to rounding; on it only to √ε, which is why the default treats it apart.
        off = ~np.eye(len(x), dtype=bool)
        assert_close(same[off], both[off], rtol=1e-12)
        assert_close(jnp.diag(same), jnp.diag(both), rtol=1e-7)


def test_rows_and_columns_are_x1_and_x2(key):
    x1, x2 = inputs(key, 3), inputs(jax.random.fold_in(key, 1), 5)
    kernels = wl.kernel_matrix(relu_net(), x1, x2)
    assert kernels.ntk.shape == (3, 5)
    one = wl.kernel_matrix(relu_net(), x1[2:], x2[4:])
    assert_close(kernels.ntk[2, 4], one.ntk[0, 0], rtol=1e-12)


def test_different_numbers_of_features_are_refused(key):
    with pytest.raises(ValueError, match="x1 has 6 and x2 has 5"):
        wl.kernel_matrix(relu_net(), inputs(key), inputs(key, d=5))


@pytest.mark.skipif(not REFERENCE.exists(), reason="the frozen neural-tangents numbers are not beside this checkout")
@pytest.mark.parametrize(
    ("name", "net"),
    [
        ("fc_relu_d3_w2_b0.1", relu_net()),
        ("fc_erf_d2_w1.5_b0.05", wl.mlp(depth=2, width=1, activation=wl.erf, w_std=1.5, b_std=0.05)),
    ],
)
def test_neural_tangents_numbers_are_met(name, net):
    with np.load(REFERENCE, allow_pickle=False) as reference:
        x1, x2 = (jnp.asarray(reference[k], jnp.float64) for k in ("vec_x1", "vec_x2"))
        between, within = wl.kernel_matrix(net, x1, x2), wl.kernel_matrix(net, x1)
        assert_close(between.nngp, reference[f"{name}/nngp"], rtol=1e-10)
        assert_close(between.ntk, reference[f"{name}/ntk"], rtol=1e-10)
        off = ~np.eye(len(x1), dtype=bool)
        for ours, theirs in ((within.nngp, f"{name}/nngp_11"), (within.ntk, f"{name}/ntk_11")):
            assert_close(ours[off], reference[theirs][off], rtol=1e-10)
            assert_close(jnp.diag(ours), np.diag(reference[theirs]), rtol=1e-7)  # theirs is exact to √ε there
