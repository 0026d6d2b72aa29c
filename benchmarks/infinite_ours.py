"""Kernels of infinite networks by widelinear."""

import jax.numpy as jnp
import numpy as np
from duel import serve

import widelinear as wl

SCALES = {"w_std": 2**0.5, "b_std": 0.1**0.5}


def build(case):
    rng = np.random.default_rng(0)
    x1 = jnp.asarray(rng.standard_normal(case["shape"]), case["dtype"])
    x2 = jnp.asarray(rng.standard_normal(case["shape"]), case["dtype"]) if case["two_sets"] else None
    net = {
        "fc": lambda: wl.mlp(depth=5, width=1, activation=getattr(wl, case["activation"]), **SCALES),
        "conv": lambda: wl.cnn(depth=3, channels=1, pool=case["pool"], **SCALES),
        "resnet": lambda: wl.wide_resnet(blocks=1, channels=1, pool=(4, 4), w_std=2**0.5),
    }[case["net"]]()
    return lambda: wl.kernel_matrix(net, x1, x2)


if __name__ == "__main__":
    serve(build)
