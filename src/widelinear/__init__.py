r"""Wide neural networks evolve as linear models: kernels, linearization and training dynamics.

A tour, in the order of the paper:

- `mlp` builds a network. `net.init` and `net.apply` are the finite one, `kernel_matrix(net, x)` its infinite-width
  limit: the NNGP kernel $\mathcal{K}$ and the tangent kernel $\Theta$.
- `linearize` is the network's tangent in parameter space, `empirical_ntk` its kernel $\hat\Theta$.
- `dual_coefficients` solves squared-loss training of a linear model; with them come outputs and weights at any time.
- `train` trains the network, or anything else with `apply(params, x)`, and records it.
- `data`, `scale`, `claims` and `plotting` serve the book.
"""

import importlib
from types import ModuleType

from widelinear import claims, data, oracles, scale
from widelinear.activations import Activation, Moments, erf, identity, relu
from widelinear.claims import check_claims, claim
from widelinear.dynamics import dual_coefficients, dual_coefficients_gd, from_mean_loss, weight_change
from widelinear.empirical import empirical_nngp, empirical_ntk, empirical_ntk_terms, ntk_cost, ntk_matvec
from widelinear.kernels import Kernel, Kernels, Law, Needs
from widelinear.layers import (
    Activate,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Identity,
    Layer,
    LayerNorm,
    SumPool,
)
from widelinear.linearize import linearize, taylor_expand
from widelinear.matrices import kernel_matrix
from widelinear.nets import Serial, Sum, cnn, mlp, wide_resnet
from widelinear.records import accuracy, relative_change, relative_distance, rmse
from widelinear.training import History, log_spaced_steps, mse_loss, train

__all__ = [
    "Activate",
    "Activation",
    "AvgPool",
    "Conv",
    "Dense",
    "Flatten",
    "GlobalAvgPool",
    "History",
    "Identity",
    "Kernel",
    "Kernels",
    "Law",
    "Layer",
    "LayerNorm",
    "Moments",
    "Needs",
    "Serial",
    "Sum",
    "SumPool",
    "accuracy",
    "check_claims",
    "claim",
    "claims",
    "cnn",
    "data",
    "dual_coefficients",
    "dual_coefficients_gd",
    "empirical_nngp",
    "empirical_ntk",
    "empirical_ntk_terms",
    "erf",
    "from_mean_loss",
    "identity",
    "kernel_matrix",
    "linearize",
    "log_spaced_steps",
    "mlp",
    "mse_loss",
    "ntk_cost",
    "ntk_matvec",
    "oracles",
    "plotting",
    "relative_change",
    "relative_distance",
    "relu",
    "rmse",
    "scale",
    "taylor_expand",
    "train",
    "weight_change",
    "wide_resnet",
]


def __getattr__(name: str) -> ModuleType:
    """Load `plotting`, and Matplotlib with it, when it is first used."""
    if name == "plotting":
        return importlib.import_module("widelinear.plotting")
    raise AttributeError(f"module 'widelinear' has no attribute {name!r}")
