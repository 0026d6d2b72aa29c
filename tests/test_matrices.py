"""Kernel matrices: blocks, halves and devices change nothing; precision; what is refused."""

import hypothesis
import hypothesis.extra.numpy as hnp
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import assert_close, on_eight_devices
from hypothesis import strategies as st

import widelinear as wl
from widelinear import matrices

ONE_DEVICE = jax.sharding.Mesh(np.asarray(jax.devices()[:1]), ("rows",))
NET = wl.mlp(depth=2, width=1, activation=wl.relu, w_std=2**0.5, b_std=0.1)
POOLED = wl.cnn(depth=1, channels=1, w_std=2**0.5)


def inputs(n=7, d=5, seed=0, dtype=np.float64):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((n, d)), dtype)


@pytest.fixture(scope="module")
def one_block():
    return wl.kernel_matrix(NET, inputs(), batch_size=100)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 4, 6, 7])
def test_the_size_of_blocks_changes_nothing(batch_size, one_block):
    for ours, whole in zip(wl.kernel_matrix(NET, inputs(), batch_size=batch_size), one_block, strict=True):
        assert_close(ours, whole, rtol=1e-12)
        assert_close(ours, ours.T, rtol=1e-13)


@pytest.mark.parametrize("batch_size", [1, 3, 5])
def test_blocks_between_two_sets_of_inputs_change_nothing(batch_size, one_block):
    x = inputs()
    ours = wl.kernel_matrix(NET, x[:4], x[2:], batch_size=batch_size)
    assert_close(ours.ntk, one_block.ntk[:4, 2:], rtol=1e-12)


def test_x2_by_default_is_x1(one_block):
    for same, both in zip(one_block, wl.kernel_matrix(NET, inputs(), inputs()), strict=True):
        assert_close(same, both, rtol=1e-12)


def test_pooled_images_are_computed_in_blocks_too():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4, 4, 2)))
    blocks, whole = (wl.kernel_matrix(POOLED, x, batch_size=size) for size in (1, 3))
    assert_close(blocks.ntk, whole.ntk, rtol=1e-12)


def test_only_half_of_the_blocks_is_computed():
    half = matrices._plan(wl.Needs(), inputs(90), None, 10, ONE_DEVICE)
    assert half.rows.blocks * half.blocks_in_a_row == 9 * 10 // 2
    all_blocks = matrices._plan(wl.Needs(), inputs(90), inputs(90), 10, ONE_DEVICE)
    assert all_blocks.rows.blocks * all_blocks.blocks_in_a_row == 81


@pytest.mark.parametrize(
    ("net", "shape", "batch_size"),
    [(NET, (900, 3), 100), (POOLED, (3, 16, 16, 3), 1), (wl.cnn(depth=2, channels=1, pool=False), (33, 16, 16, 3), 11)],
    ids=["vectors", "all pairs of sites", "equal sites"],
)
def test_memory_beyond_the_result_is_at_most_fifteen_blocks(net, shape, batch_size):
    x = jnp.ones(shape)
    needs, n, sites = net.needs(wl.Needs()), len(x), int(np.prod(shape[1:-1]))
    plan = matrices._plan(needs, x, None, batch_size, ONE_DEVICE)
    fill = matrices._compiled_filler(net, needs, plan)
    memory = fill.lower(wl.Kernels(*jnp.zeros((2, n, n))), x, x, jnp.asarray(0)).compile().memory_analysis()
    block = 8 * plan.rows.block**2 * (sites**2 if needs.joint else sites)
    assert memory.temp_size_in_bytes <= 15 * block
    assert memory.alias_size_in_bytes >= 2 * 8 * n**2, "the result is written in place"


ON_EIGHT_DEVICES = """
    import jax, numpy as np, jax.numpy as jnp, widelinear as wl
    jax.config.update("jax_enable_x64", True)
    net = wl.mlp(depth=2, width=1, w_std=1.4, b_std=0.1)
    one = jax.sharding.Mesh(np.asarray(jax.devices()[:1]), ("x",))
    assert jax.device_count() == 8
    for n, batch_size in ((16, None), (21, 1), (21, 2), (3, None)):
        x = jnp.asarray(np.random.default_rng(0).standard_normal((n, 4)))
        for x2 in (None, x[:2]):
            many = wl.kernel_matrix(net, x, x2, batch_size=batch_size)
            single = wl.kernel_matrix(net, x, x2, mesh=one)
            np.testing.assert_allclose(many.nngp, single.nngp, rtol=1e-13)
            np.testing.assert_allclose(many.ntk, single.ntk, rtol=1e-13)
            if n == 16:
                assert {shard.data.shape[0] for shard in many.ntk.addressable_shards} == {2}, "rows are sharded"
    slope = jax.grad(lambda w_std: wl.kernel_matrix(wl.mlp(depth=1, width=1, w_std=w_std), x).ntk.sum())(1.4)
    assert np.isfinite(slope)
"""


def test_one_and_eight_devices_agree():
    on_eight_devices(ON_EIGHT_DEVICES)


NEAR = {
    "relu": wl.mlp(depth=5, width=1, activation=wl.relu, w_std=2**0.5, b_std=0.1**0.5),
    "erf": wl.mlp(depth=5, width=1, activation=wl.erf, w_std=2**0.5, b_std=0.1**0.5),
}


@pytest.mark.parametrize("name", NEAR)
@pytest.mark.parametrize("distance", [1e-2, 1e-3, 1e-4, 1e-6])
def test_in_float32_kernels_are_right_where_inputs_nearly_coincide(name, distance):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((20, 64)).astype(np.float32)
    x = np.concatenate([x, x + np.float32(distance) * rng.standard_normal((20, 64)).astype(np.float32)])
    double = wl.kernel_matrix(NEAR[name], jnp.asarray(x, jnp.float64))
    for single, exact in zip(wl.kernel_matrix(NEAR[name], jnp.asarray(x)), double, strict=True):
        assert single.dtype == jnp.float32
        assert_close(np.diag(single), np.diag(exact), rtol=1e-6)
        # Independent rounding errors of size εK in n² entries move eigenvalues by no more than 2√n εK.
        smallest = np.linalg.eigvalsh(np.asarray(single, float))[0]
        assert smallest > -2 * len(x) ** 0.5 * np.finfo(np.float32).eps * np.max(np.diag(exact))
        assert_close(single, exact, rtol=2e-5)


def test_in_float32_a_pooled_image_is_at_no_angle_to_itself():
    # Two sites: half of the pairs coincide, and an angle of √ε at each would show at 1e-4.
    net = wl.cnn(depth=3, channels=1, kernel_size=(1,), w_std=2**0.5)
    x = np.random.default_rng(0).standard_normal((8, 2, 300)).astype(np.float32)
    single, double = (wl.kernel_matrix(net, jnp.asarray(x, dtype)) for dtype in (jnp.float32, jnp.float64))
    assert_close(np.diag(single.ntk), np.diag(double.ntk), rtol=5e-6)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("net", [NET, POOLED], ids=["mlp", "pooled"])
def test_a_black_image_has_finite_kernels_and_gradients(net, dtype):
    shape = (2, 12) if net is NET else (2, 2, 2, 3)
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape), dtype).at[0].set(0)
    kernels = wl.kernel_matrix(net, x)
    assert np.isfinite(kernels.ntk).all()
    assert np.isfinite(jax.grad(lambda x: wl.kernel_matrix(net, x).ntk.sum())(x)).all()


def test_one_input_and_no_input():
    assert wl.kernel_matrix(NET, inputs(1)).ntk.shape == (1, 1)
    assert wl.kernel_matrix(NET, inputs(0), inputs(3)).nngp.shape == (0, 3)
    assert wl.kernel_matrix(NET, inputs(0)).nngp.shape == (0, 0)


def test_numpy_arrays_are_taken():
    assert_close(wl.kernel_matrix(NET, np.asarray(inputs())).ntk, wl.kernel_matrix(NET, inputs()).ntk)


@pytest.mark.parametrize(
    ("x1", "x2", "message"),
    [
        (inputs(), inputs(d=4), "x1 has 5 and x2 has 4"),
        (inputs(), inputs(dtype=np.float32), "float64 and float32"),
        (inputs().at[0, 0].set(np.nan), None, "x1 must be finite"),
        (inputs(), inputs().at[0, 0].set(np.inf), "x2 must be finite"),
        (np.ones((2, 3), np.uint8), None, "float32 or float64, but came as uint8"),
        (np.ones((2, 3), np.float16), None, "came as float16"),
        (np.ones(3), None, r"shape \(3,\); add the missing axis"),
        (np.ones((2, 0)), None, r"shape \(2, 0\)"),
    ],
)
def test_inputs_that_fit_nothing_are_refused(x1, x2, message):
    with pytest.raises(ValueError, match=message):
        wl.kernel_matrix(NET, x1, x2)


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_size_below_one_is_refused(batch_size):
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        wl.kernel_matrix(NET, inputs(), batch_size=batch_size)


def numbers(dtype):
    bound = float(np.float32(1e4))
    return st.floats(-bound, bound, width=np.dtype(dtype).itemsize * 8, allow_subnormal=False)


@hypothesis.settings(max_examples=25)
@hypothesis.given(
    data=st.data(), dtype=st.sampled_from([np.float32, np.float64]), activation=st.sampled_from(["relu", "erf"])
)
def test_any_finite_inputs_give_kernels(data, dtype, activation):
    x = data.draw(hnp.arrays(dtype, (3, 2), elements=numbers(dtype)))
    net = wl.mlp(depth=2, width=1, activation=getattr(wl, activation), w_std=1.5, b_std=0.1)
    for kernel in wl.kernel_matrix(net, x):
        kernel = np.asarray(kernel, float)
        assert np.isfinite(kernel).all()
        scale = np.sqrt(np.outer(np.diag(kernel), np.diag(kernel)))  # that of an entry's rounding error, too
        assert_close(kernel / scale, (kernel / scale).T, atol=1e-5)
        assert (np.abs(kernel) <= scale * (1 + 1e-5)).all(), "Cauchy and Schwarz"


@hypothesis.settings(max_examples=10)
@hypothesis.given(
    n1=st.integers(1, 3), n2=st.integers(1, 3), sites=st.lists(st.integers(1, 3), max_size=2), pool=st.booleans()
)
def test_any_shapes_give_the_kernel_of_swapped_inputs_transposed(n1, n2, sites, pool):
    rng = np.random.default_rng(0)
    x1, x2 = (jnp.asarray(rng.standard_normal((n, *sites, 2))) for n in (n1, n2))
    hidden = [wl.Conv(1, (2,) * len(sites))] if sites else [wl.Dense(1)]
    after = wl.GlobalAvgPool() if pool and sites else wl.Flatten()
    net = wl.Serial([*hidden, wl.Activate(wl.relu), after, wl.Dense(1, 1.2, 0.1)])
    for kernel, swapped in zip(wl.kernel_matrix(net, x1, x2), wl.kernel_matrix(net, x2, x1), strict=True):
        assert kernel.shape == (n1, n2)
        assert_close(kernel, swapped.T, rtol=1e-12)
