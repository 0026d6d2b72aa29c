r"""Wide neural networks evolve as linear models: kernels, linearization and training dynamics.

A tour, in the order of the paper:

- `mlp` builds a network. `net.init` and `net.apply` are the finite one, `kernel_matrix(net, x)` its infinite-width
  limit: the NNGP kernel $\mathcal{K}$ and the tangent kernel $\Theta$.
- `linearize` is the network's tangent in parameter space, `empirical_ntk` its kernel $\hat\Theta$.
- `dual_coefficients` solves squared-loss training of a linear model, by any `Rule`; with them come outputs (`predict`)
  and weights (`weight_change`) at any time. `dual_flow` integrates other losses.
- `predict_ensemble` is the distribution over initializations, at any time.
- `train` trains the network, or anything else with `apply(params, x)`, and records it.
- `data`, `scale`, `claims` and `plotting` serve the book.
"""

import importlib
from types import ModuleType

from widelinear import claims, data, oracles, scale
from widelinear.activations import (
    Activation,
    Moments,
    abrelu,
    absolute,
    cos,
    erf,
    exp,
    from_function,
    gaussian,
    gelu,
    identity,
    leaky_relu,
    polynomial,
    relu,
    sign,
    silu,
    sin,
    softplus,
    tanh,
)
from widelinear.claims import check_claims, claim
from widelinear.dynamics import (
    CriticalLearningRate,
    Modes,
    Projected,
    critical_learning_rate,
    dual_coefficients,
    flatten_outputs,
    from_mean_loss,
    modes,
    predict,
    response,
    to_mean_loss,
    weight_change,
)
from widelinear.empirical import empirical_nngp, empirical_ntk, empirical_ntk_terms, ntk_cost, ntk_matvec
from widelinear.ensembles import Gaussian, expected_mse_loss, nngp_posterior, predict_ensemble
from widelinear.flows import dual_flow
from widelinear.hermite import quadrature_error
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
from widelinear.members import ensemble_ntk, train_ensemble
from widelinear.monte_carlo import SampledKernels, monte_carlo_kernels
from widelinear.nets import Serial, Sum, cnn, mlp, wide_resnet
from widelinear.parameterization import normal_params, ntk_learning_rates, ntk_scales, sgd_with_rates, to_standard
from widelinear.rates import PowerLaw, power_law
from widelinear.records import accuracy, relative_change, relative_distance, rmse
from widelinear.rules import Flow, GradientDescent, HeavyBall, HeavyBallFlow, Rule
from widelinear.sliders import Axis, slider
from widelinear.span import rotate_into_span
from widelinear.training import History, cross_entropy_loss, log_spaced_steps, mse_loss, train

__all__ = [
    "Activate",
    "Activation",
    "AvgPool",
    "Axis",
    "Conv",
    "CriticalLearningRate",
    "Dense",
    "Flatten",
    "Flow",
    "Gaussian",
    "GlobalAvgPool",
    "GradientDescent",
    "HeavyBall",
    "HeavyBallFlow",
    "History",
    "Identity",
    "Kernel",
    "Kernels",
    "Law",
    "Layer",
    "LayerNorm",
    "Modes",
    "Moments",
    "Needs",
    "PowerLaw",
    "Projected",
    "Rule",
    "SampledKernels",
    "Serial",
    "Sum",
    "SumPool",
    "abrelu",
    "absolute",
    "accuracy",
    "check_claims",
    "claim",
    "claims",
    "cnn",
    "cos",
    "critical_learning_rate",
    "cross_entropy_loss",
    "data",
    "dual_coefficients",
    "dual_flow",
    "empirical_nngp",
    "empirical_ntk",
    "empirical_ntk_terms",
    "ensemble_ntk",
    "erf",
    "exp",
    "expected_mse_loss",
    "flatten_outputs",
    "from_function",
    "from_mean_loss",
    "gaussian",
    "gelu",
    "identity",
    "kernel_matrix",
    "leaky_relu",
    "linearize",
    "log_spaced_steps",
    "mlp",
    "modes",
    "monte_carlo_kernels",
    "mse_loss",
    "nngp_posterior",
    "normal_params",
    "ntk_cost",
    "ntk_learning_rates",
    "ntk_matvec",
    "ntk_scales",
    "oracles",
    "plotting",
    "polynomial",
    "power_law",
    "predict",
    "predict_ensemble",
    "quadrature_error",
    "relative_change",
    "relative_distance",
    "relu",
    "response",
    "rmse",
    "rotate_into_span",
    "scale",
    "sgd_with_rates",
    "sign",
    "silu",
    "sin",
    "slider",
    "softplus",
    "tanh",
    "taylor_expand",
    "to_mean_loss",
    "to_standard",
    "train",
    "train_ensemble",
    "weight_change",
    "wide_resnet",
]


def __getattr__(name: str) -> ModuleType:
    """Load `plotting`, and Matplotlib with it, when it is first used."""
    if name == "plotting":
        return importlib.import_module("widelinear.plotting")
    raise AttributeError(f"module 'widelinear' has no attribute {name!r}")
