"""Kernels of infinite networks by widelinear."""

import jax.numpy as jnp
from duel import inputs, serve

import widelinear as wl

SCALES = {"w_std": 2**0.5, "b_std": 0.1**0.5}


def build(case):
    x1, x2 = (None if x is None else jnp.asarray(x) for x in inputs(case))
    net = {
        "fc": lambda: wl.mlp(depth=case["depth"], width=1, activation=getattr(wl, case["activation"]), **SCALES),
        "conv": lambda: wl.cnn(depth=3, channels=1, pool=case["pool"], **SCALES),
        "resnet": lambda: wl.wide_resnet(blocks=1, channels=1, pool=(4, 4), w_std=2**0.5),
    }[case["kind"]]()
    return lambda: wl.kernel_matrix(net, x1, x2)


if __name__ == "__main__":
    serve(build)
