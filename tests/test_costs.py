"""Estimates of operations and memory, against counts by hand and against what XLA says of the compiled program."""

import jax
import jax.numpy as jnp
import pytest
from networks import circular, convolution, drawn

import widelinear as wl
from widelinear import empirical
from widelinear.costs import Cost, cheapest
from widelinear.structured import pull_back_flops


def test_operations_of_a_dense_network_are_those_counted_by_hand():
    net, x = wl.mlp(depth=1, width=7, outputs=3), jnp.ones((2, 5))
    params = jax.eval_shape(net.init, jax.random.key(0), x)
    forward = 2 * (5 * 7 + 7 * 3)
    assert pull_back_flops(net.apply, params, x, explicit=False) == (forward, 2 * 3 * 7)
    assert pull_back_flops(net.apply, params, x, explicit=True) == (forward, 2 * 3 * 7 + forward)


def test_operations_of_a_convolution_and_of_a_loop_are_those_counted_by_hand():
    one = lambda w, x: convolution(x, w).reshape(len(x), -1)  # noqa: E731
    x, w = jnp.ones((2, 6, 5, 3)), jnp.ones((3, 2, 3, 8))
    assert pull_back_flops(one, w, x, explicit=False)[0] == 2 * (4 * 4 * 8) * (3 * 2 * 3)
    loop = lambda w, x: jax.lax.fori_loop(0, 4, lambda _, h: h @ w, x)  # noqa: E731
    assert pull_back_flops(loop, jnp.ones((5, 5)), jnp.ones((2, 5)), explicit=False)[0] == 4 * 2 * 25


def test_a_network_without_products_costs_no_operation():
    assert pull_back_flops(lambda w, x: x * w, jnp.ones((1, 5)), jnp.ones((2, 5)), explicit=True) == (0.0, 0.0)


def compiled(method, apply, params, x1, x2, outputs):
    directions, pairing = empirical._directions(jax.eval_shape(apply, params, x1), outputs)
    function = jax.jit(empirical.METHODS[method], static_argnames=("apply", "pairing"))
    return function.lower(apply, params, x1, x2, directions, pairing).compile()


@pytest.mark.parametrize("method", ["structured", "jacobian", "vector products"])
@pytest.mark.parametrize("model", ["dense", "circular"])
def test_estimates_are_within_a_factor_of_what_is_compiled(model, method):
    if model == "dense":
        net, x = wl.mlp(depth=2, width=128, outputs=8, b_std=0.1), jax.ShapeDtypeStruct((16, 64), jnp.float32)
        apply, params = net.apply, jax.eval_shape(net.init, jax.random.key(0), x)
    else:
        apply, x = circular, drawn({"x": (4, 8, 8, 16)})["x"]
        params = drawn({"w": (3, 3, 16, 32), "b": (32,), "readout": (32, 3)})
    cost = wl.ntk_cost(apply, params, x)[method]
    program = compiled(method, apply, params, x, None, "full")
    assert 0.5 < cost.bytes / program.memory_analysis().temp_size_in_bytes < 3
    # XLA counts the body of a loop once, and multiplies more than it must for weight gradients of single examples.
    if method == "structured" or (model, method) == ("dense", "jacobian"):
        assert 0.6 < cost.flops / program.cost_analysis()["flops"] < 1.8


def test_the_cheapest_method_that_fits_is_chosen():
    costs = {"jacobian": Cost(1.0, 100.0), "structured": Cost(2.0, 50.0), "vector products": Cost(3.0, 10.0)}
    assert [cheapest(costs, memory) for memory in (200.0, 60.0, 20.0, 1.0)] == [
        "jacobian",
        "structured",
        "vector products",
        "vector products",
    ]


def test_a_wide_network_takes_outer_products_and_one_with_many_outputs_vector_products():
    def chosen(width, outputs):
        net, x = wl.mlp(depth=2, width=width, outputs=outputs), jax.ShapeDtypeStruct((8, 16), jnp.float32)
        return cheapest(wl.ntk_cost(net.apply, jax.eval_shape(net.init, jax.random.key(0), x), x), 2.0**31)

    assert chosen(width=256, outputs=2) == "structured"
    assert chosen(width=8, outputs=300) == "vector products"
