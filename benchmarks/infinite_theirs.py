"""Kernels of infinite networks by neural-tangents, compiled as its users compile them."""

import jax
import jax.numpy as jnp
from duel import inputs, serve
from neural_tangents import stax

SCALES = (2**0.5, 0.1**0.5)


def conv(stride=1, bias=0.0):
    return stax.Conv(1, (3, 3), (stride, stride), "SAME", W_std=SCALES[0], b_std=bias)


def block(stride, first):
    branch = stax.serial(stax.Relu(), conv(stride), stax.Relu(), conv())
    return stax.serial(
        stax.FanOut(2), stax.parallel(conv(stride) if first else stax.Identity(), branch), stax.FanInSum()
    )


def network(case):
    if case["kind"] == "fc":
        activation = {"relu": stax.Relu, "erf": stax.Erf}[case["activation"]]
        hidden = [layer for _ in range(case["depth"]) for layer in (stax.Dense(1, *SCALES), activation())]
        return stax.serial(*hidden, stax.Dense(1, *SCALES))
    if case["kind"] == "conv":
        hidden = [layer for _ in range(3) for layer in (conv(bias=SCALES[1]), stax.Relu())]
        return stax.serial(*hidden, stax.GlobalAvgPool() if case["pool"] else stax.Flatten(), stax.Dense(1, *SCALES))
    blocks = [block(stride, True) for stride in (1, 2, 2)]
    return stax.serial(conv(), *blocks, stax.AvgPool((4, 4)), stax.Flatten(), stax.Dense(1, SCALES[0], 0.0))


def build(case):
    x1, x2 = (None if x is None else jnp.asarray(x) for x in inputs(case))
    _, _, kernel = network(case)

    @jax.jit
    def both(x1, x2):
        kernels = kernel(x1, x2, ("nngp", "ntk"))
        return kernels.nngp, kernels.ntk

    return lambda: both(x1, x2)


if __name__ == "__main__":
    serve(build)
