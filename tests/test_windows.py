"""Window sums against JAX's own pooling and convolution."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import assert_close

import widelinear as wl
from widelinear.loop import compiled_loop, models_on
from widelinear.windows import convolutions_in_a_loop, pad_sites, pad_widths, patches, window_sum

CASES = [(size, window, stride) for size in (5, 8) for window in (1, 2, 3, 4) for stride in (1, 2, 3)]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize(("size", "window", "stride"), CASES)
def test_along_one_axis_it_is_pooling(size, window, stride, padding):
    values = np.random.default_rng(0).standard_normal((3, size))
    pooled = jax.lax.reduce_window(values, 0.0, jax.lax.add, (1, window), (1, stride), padding)
    assert_close(window_sum(jnp.asarray(values), [1], window, stride, padding), pooled, atol=1e-14)


@pytest.mark.parametrize(("size", "window", "stride"), CASES)
def test_circular_padding_lets_the_window_wrap(size, window, stride):
    values = np.random.default_rng(0).standard_normal(size)
    before, _ = pad_widths(size, window, stride, "CIRCULAR")
    starts = np.arange(0, size, stride) - before
    expected = [sum(values[(start + offset) % size] for offset in range(window)) for start in starts]
    assert_close(window_sum(jnp.asarray(values), [0], window, stride, "CIRCULAR"), expected, atol=1e-14)


def test_along_two_axes_one_offset_moves_in_both():
    values = np.random.default_rng(0).standard_normal((5, 5))
    expected = [[values[p, q] + values[p + 1, q + 1] for q in range(4)] for p in range(4)]
    assert_close(window_sum(jnp.asarray(values), [0, 1], 2, 1, "VALID"), expected, atol=1e-14)


def test_zeros_are_added_unless_the_padding_is_circular():
    values = jnp.array([1.0, 2.0])
    assert pad_sites(values, 0, (1, 0), "SAME").tolist() == [0.0, 1.0, 2.0]
    assert pad_sites(values, 0, (1, 0), "CIRCULAR").tolist() == [2.0, 1.0, 2.0]


@pytest.mark.parametrize("padding", ["SAME", "VALID"])
@pytest.mark.parametrize("windows", [[(3, 1), (3, 1)], [(3, 2), (2, 1)], [(1, 2), (4, 3)]])
def test_patches_times_a_matrix_are_a_convolution_and_so_are_its_derivatives(windows, padding):
    rng = np.random.default_rng(0)
    sizes, strides = zip(*windows, strict=True)
    x, w = jnp.asarray(rng.standard_normal((2, 6, 7, 3))), jnp.asarray(rng.standard_normal((*sizes, 3, 4)))
    layout = ("NHWC", "HWIO", "NHWC")

    def by_jax(x, w):
        return jax.lax.conv_general_dilated(x, w, strides, padding, dimension_numbers=layout)

    def ours(x, w):
        return patches(x, windows, padding) @ w.reshape(-1, 4)

    assert_close(ours(x, w), by_jax(x, w), atol=1e-13)
    of = [jax.grad(lambda x, w, f=f: jnp.sum(f(x, w) ** 3), (0, 1))(x, w) for f in (by_jax, ours)]
    for wanted, given in zip(*of, strict=True):
        assert_close(given, wanted, atol=1e-10)


@pytest.mark.parametrize("padding", ["SAME", "VALID", "CIRCULAR"])
def test_networks_are_the_same_in_a_loop_and_outside(padding):
    net = wl.Serial([wl.Conv(4, (3, 2), 2, padding, 1.5, 0.3), wl.Activate(wl.erf), wl.GlobalAvgPool(), wl.Dense(2)])
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 6, 7, 3)))
    params = net.init(jax.random.key(0), x)

    def outputs_and_gradient():
        return net.apply(params, x), jax.grad(lambda p: jnp.sum(net.apply(p, x) ** 3))(params)

    outside, traced_outside = outputs_and_gradient(), str(jax.make_jaxpr(net.apply)(params, x))
    with convolutions_in_a_loop():
        inside, traced_inside = outputs_and_gradient(), str(jax.make_jaxpr(lambda p, x: net.apply(p, x))(params, x))
    jax.tree.map(lambda a, b: assert_close(a, b, atol=1e-12), inside, outside)
    assert "conv_general" in traced_outside
    assert "conv_general" not in traced_inside


def test_training_loops_hold_no_convolution():
    net, x, y = wl.cnn(depth=1, channels=2), jnp.ones((2, 4, 4, 1)), jnp.ones((2, 1))
    params = net.init(jax.random.key(0), x)
    models = {"network": net.apply, "linearized": wl.linearize(net.apply, params)}
    optimizer = optax.sgd(0.1)
    for batch_size, key in ((None, None), (1, jax.random.key(0))):
        start = dict.fromkeys(models, params), dict.fromkeys(models, optimizer.init(params))
        advance, on_x = compiled_loop(wl.mse_loss, optimizer, batch_size), models_on(x, models, batch_size)
        assert "convolution" not in advance.lower(*start, 0, 1, on_x, x, y, key).as_text()
