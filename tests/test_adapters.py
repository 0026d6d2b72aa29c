"""Any network: a layer of ours, Linen, NNX, Equinox, a plain function, batch normalization in inference mode.

Each adapter is a few lines that make `apply(params, x)` and a pytree. All else is the same for all of them.
"""

import re
from pathlib import Path

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from helpers import assert_close

import widelinear as wl

PAGE = Path(__file__).parents[1] / "chapters" / "bring-your-own-network.md"
X = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 4, 3)))


@pytest.fixture(autouse=True)
def promotions():
    """Stock layers promote silently: they run in JAX's defaults."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def drawn(shapes):
    """Random leaves in place of those that `init` would draw: compiling that takes longer than the test."""
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape) / 2), shapes)


def ours():
    net = wl.cnn(depth=1, channels=4, outputs=2, activation=wl.erf, w_std=1.3, b_std=0.1)
    return net.apply, drawn(jax.eval_shape(net.init, jax.random.key(0), X))


def plain_function():
    def apply(params, x):
        return jnp.tanh(x.reshape(len(x), -1) @ params["w"]) @ params["v"]

    return apply, drawn({"w": np.zeros((48, 4)), "v": np.zeros((4, 2))})


def linen():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x):
            x = nn.tanh(nn.Conv(4, (3, 3), strides=2, param_dtype=x.dtype)(x))
            x = nn.LayerNorm(param_dtype=x.dtype)(x)
            return nn.Dense(2, param_dtype=x.dtype)(x.reshape(len(x), -1))

    net = Net()
    return net.apply, drawn(jax.eval_shape(net.init, jax.random.key(0), X))


def linen_with_batch_norm():
    class Net(nn.Module):
        @nn.compact
        def __call__(self, x, train=False):
            x = nn.Conv(4, (3, 3), param_dtype=x.dtype)(x)
            x = nn.tanh(nn.BatchNorm(use_running_average=not train, param_dtype=x.dtype)(x))
            return nn.Dense(2, param_dtype=x.dtype)(x.mean((1, 2)))

    net = Net()
    variables = drawn(jax.eval_shape(net.init, jax.random.key(0), X))
    statistics = jax.tree.map(lambda s: s**2 + 0.5, variables["batch_stats"])
    return lambda params, x: net.apply({"params": params, "batch_stats": statistics}, x), variables["params"]


def nnx_module():
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv = nnx.Conv(3, 4, (3, 3), param_dtype=jnp.float64, rngs=rngs)
            self.norm = nnx.BatchNorm(4, use_running_average=True, param_dtype=jnp.float64, rngs=rngs)
            self.readout = nnx.Linear(4, 2, param_dtype=jnp.float64, rngs=rngs)

        def __call__(self, x):
            return self.readout(jnp.tanh(self.norm(self.conv(x))).mean((1, 2)))

    graph, params, rest = nnx.split(Net(nnx.Rngs(0)), nnx.Param, ...)
    rest = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), rest)
    return lambda params, x: nnx.merge(graph, params, rest)(x), params


def equinox_module():
    class Net(eqx.Module):
        conv: eqx.nn.Conv2d
        readout: eqx.nn.Linear

        def __call__(self, x):  # one example, channels first
            return self.readout(jnp.tanh(self.conv(jnp.moveaxis(x, -1, 0))).mean((1, 2)))

    first, second = jax.random.split(jax.random.key(0))
    net = Net(eqx.nn.Conv2d(3, 4, 3, key=first), eqx.nn.Linear(4, 2, key=second))
    params, static = eqx.partition(net, eqx.is_inexact_array)
    return lambda params, x: jax.vmap(eqx.combine(params, static))(x), params


NETWORKS = [ours, plain_function, linen, linen_with_batch_norm, nnx_module, equinox_module]


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_the_kernel_of_any_network_predicts_how_its_linearization_trains(network):
    apply, params = network()
    ntk = wl.empirical_ntk(apply, params, X, method="structured")
    y, rate = jnp.ones((3, 2)), 0.05
    apply_lin = jax.jit(wl.linearize(apply, params))

    def record(p):
        return apply_lin(p, X)

    history = wl.train(apply_lin, params, X, y, optimizer=optax.sgd(rate), steps=[0, 3], record=record)
    f0, trained = history.records
    matrix = jnp.transpose(ntk, (0, 2, 1, 3)).reshape(6, 6)
    residual = (y - f0).reshape(6, 1)
    coefficients = wl.dual_coefficients(matrix, residual, 3, wl.GradientDescent(wl.from_mean_loss(rate, y)))
    assert_close(trained, f0 + (matrix @ coefficients).reshape(3, 2), rtol=1e-10)


@pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.__name__)
def test_the_weights_of_any_library_are_recognised(network):
    apply, params = network()
    gradients = jax.eval_shape(lambda p: wl.structured.parameter_gradients(apply, p, X, jnp.eye(2)), params)
    assert sum(gradient.inputs.shape[2] > 1 for gradient in gradients) == 2, "one convolution or matrix, one readout"


def test_the_code_on_the_page_runs():
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
        exec(compile(block, PAGE.name, "exec"), namespace := {})  # every block stands alone
        assert "ntk" in namespace
