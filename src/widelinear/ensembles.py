r"""The distribution of a trained, infinitely wide network over its random initializations: Gaussian at every time.

Training is an affine map of the initial outputs, and those are Gaussian with the NNGP kernel. Outputs are independent
and share one covariance. A `Rule` says how the network is trained; conventions for loss and time are those of
`widelinear.dynamics`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from widelinear.dynamics import Modes, modes
from widelinear.kernels import Kernels
from widelinear.rules import FLOW, Rule, Time

_Moments = tuple[Float[Array, "t m k"], Float[Array, "t ..."]]


class Gaussian(NamedTuple):
    r"""A Gaussian distribution of functions at m inputs, with k independent outputs that share their covariance.

    $$f^i(x) \sim \mathcal{N}\big(\mu^i(x), \Sigma(x, x)\big), \qquad i = 1, \dots, k.$$

    Args:
        mean: $\mu$, shape (m, k), with axes of time in front.
        cov: $\Sigma$, shape (m, m), or its diagonal, shape (m,), with axes of time in front.

    Example:
        >>> import jax.numpy as jnp
        >>> Gaussian(mean=jnp.zeros((2, 1)), cov=4 * jnp.eye(2)).std.tolist()
        [2.0, 2.0]

    Source: paper, Corollary 1. Oracle: that of `predict_ensemble`.
    """

    mean: Float[Array, "*t m k"]
    cov: Float[Array, "..."]

    @property
    def std(self) -> Float[Array, "*t m"]:
        r"""$\sqrt{\Sigma(x, x)}$ at every input; 0 where rounding has left a variance below 0."""
        return jnp.sqrt(jnp.maximum(self.variance, 0))

    @property
    def variance(self) -> Float[Array, "*t m"]:
        r"""$\Sigma(x, x)$ at every input."""
        diagonal_only = self.cov.ndim < self.mean.ndim
        return self.cov if diagonal_only else jnp.diagonal(self.cov, axis1=-2, axis2=-1)


def predict_ensemble(
    kernels: Kernels,
    kernels_test: Kernels,
    nngp_test: Float[Array, "..."],
    y: Float[Array, "r k"],
    time: Time,
    rule: Rule = FLOW,
    *,
    layers: str = "all",
) -> Gaussian:
    r"""Mean and covariance of the outputs of infinitely many, infinitely wide networks after training for a time.

    With all layers trained, and the response $A_t = \Theta(x, X)\,\Theta^{-1}(I - e^{-\Theta t})$,

    $$\mu_t = A_t\,y, \qquad
      \Sigma_t = \mathcal{K}(x, x) + A_t\,\mathcal{K}\,A_t^T - \big(A_t\,\mathcal{K}(X, x) + \mathrm{h.c.}\big).$$

    With only the readout trained, $\mathcal{K}$ takes the place of $\Theta$, and the two sums become one,

    $$\Sigma_t = \mathcal{K}(x, x) - \mathcal{K}(x, X)\,\mathcal{K}^{-1}\,(I - e^{-2\mathcal{K}t})\,\mathcal{K}(X, x),$$

    which ends at the posterior of the NNGP: training draws from it. The limit with all layers trained is no posterior.

    Args:
        kernels: $\mathcal{K}$ and $\Theta$ among the n training inputs; float64 for late times.
        kernels_test: both between the m inputs of interest and the training inputs, shape (m, n).
        nngp_test: $\mathcal{K}(x, x)$ among the m inputs, shape (m, m); or its diagonal only, shape (m,), and then only
            variances come back, in memory $m$ rather than $m^2$ for each time.
        y: training targets, shape (n, k).
        time: one time or an array of them; steps where the rule is discrete; `jnp.inf` trains to convergence.
        rule: how the networks are trained; by default gradient flow.
        layers: which of them are trained, "all" or the "readout" alone.

    Returns:
        `Gaussian`: mean (m, k) and covariance (m, m), or variances (m,), with the axes of `time` in front.

    Raises:
        ValueError: if shapes disagree, a kernel is not positive semidefinite, or `layers` is neither word.

    Example:
        Before training it is the prior:

        >>> import jax, jax.numpy as jnp, widelinear as wl
        >>> x, x_test = jax.random.normal(jax.random.key(0), (2, 3, 5))
        >>> net = wl.mlp(depth=2, width=1, activation=wl.erf)
        >>> kernels, kernels_test = wl.kernel_matrix(net, x), wl.kernel_matrix(net, x_test, x)
        >>> nngp_test = wl.kernel_matrix(net, x_test).nngp
        >>> ensemble = wl.predict_ensemble(kernels, kernels_test, nngp_test, jnp.ones((3, 1)), jnp.array([0.0, 9.0]))
        >>> ensemble.mean.shape, bool((ensemble.cov[0] == nngp_test).all())
        ((2, 3, 1), True)

    Source: paper, eqs 14–16; S22, and S23 with errata E2.
    Oracle: frozen neural-tangents numbers, and the equations with `scipy.linalg.expm`, `oracles.predict_ensemble`
    (`tests/test_ensembles.py`).
    """
    if layers not in ("all", "readout"):
        raise ValueError(f"layers: expected 'all' or 'readout', but came {layers!r}.")
    _check_shapes(kernels, kernels_test, nngp_test, y)
    of, times = modes(kernels.ntk if layers == "all" else kernels.nngp), jnp.asarray(time)
    rates, flat = of.rates[None], times.reshape(-1, 1)
    filters = rule.spectral_filter(rates, flat)
    if layers == "all":
        moments = _all_layers(of, filters, kernels.nngp, kernels_test, nngp_test, y)
    else:  # 1 − ρ² is λ·g·(1 + ρ), and for gradient flow 1 − e^{−2λt}
        cov_filters = filters * (1 + rule.remaining(rates, flat))
        moments = _posterior(of, filters, cov_filters, kernels_test.nngp, nngp_test, y)
    return Gaussian(*(moment.reshape(*times.shape, *moment.shape[1:]) for moment in moments))


def nngp_posterior(
    nngp: Float[Array, "n1 n2"],
    nngp_test_train: Float[Array, "m p"],
    nngp_test: Float[Array, "..."],
    y: Float[Array, "r k"],
    *,
    noise: float | Float[Array, ""] = 0.0,
) -> Gaussian:
    r"""Bayesian inference with an infinitely wide network: the posterior of its Gaussian process.

    $$\mu = \mathcal{K}(x, X)\,(\mathcal{K} + \sigma^2 I)^{-1}\,y, \qquad
      \Sigma = \mathcal{K}(x, x) - \mathcal{K}(x, X)\,(\mathcal{K} + \sigma^2 I)^{-1}\,\mathcal{K}(X, x).$$

    Without noise it is where training the readout ends. The inverse is then the pseudo-inverse, so repeated inputs are
    no error: their targets are averaged.

    Args:
        nngp: $\mathcal{K}$ among the n training inputs.
        nngp_test_train: $\mathcal{K}(x, X)$, shape (m, n).
        nngp_test: $\mathcal{K}(x, x)$, shape (m, m); or its diagonal, shape (m,), and then only variances come back.
        y: training targets, shape (n, k).
        noise: $\sigma^2$, the variance of the noise on the targets.

    Returns:
        `Gaussian`: mean (m, k) and covariance (m, m), or variances (m,).

    Raises:
        ValueError: if shapes disagree, the kernel is not positive semidefinite, or the noise is negative.

    Example:
        >>> import jax.numpy as jnp
        >>> posterior = nngp_posterior(2 * jnp.eye(2), 2 * jnp.eye(2), 2 * jnp.eye(2), jnp.ones((2, 1)), noise=2.0)
        >>> posterior.mean.tolist(), posterior.std.tolist()
        ([[0.5], [0.5]], [1.0, 1.0])

    Source: paper, eq. 13. Oracle: scikit-learn's Gaussian processes (`tests/test_ensembles.py`).
    """
    if not isinstance(noise, jax.core.Tracer) and not float(noise) >= 0:
        raise ValueError(f"noise: expected a variance of at least 0, but came {noise}.")
    kernels, kernels_test = Kernels(nngp, nngp), Kernels(nngp_test_train, nngp_test_train)
    _check_shapes(kernels, kernels_test, nngp_test, y)
    of = modes(nngp)
    variances = of.rates + jnp.asarray(noise).astype(of.rates.dtype)
    inverse = jnp.where(variances > 0, 1 / jnp.where(variances > 0, variances, 1), 0)[None]
    mean, cov = _posterior(of, inverse, inverse, nngp_test_train, nngp_test, y)
    return Gaussian(mean[0], cov[0])


def expected_mse_loss(ensemble: Gaussian, y: Float[Array, "p k"]) -> Float[Array, "*t"]:
    r"""The squared loss of one network, averaged over the ensemble.

    $$\mathbb{E}\,\frac{1}{2mk}\sum_x\|f(x) - y\|^2
      = \frac{1}{2mk}\sum_x\Big(\|\mu(x) - y\|^2 + k\,\Sigma(x, x)\Big).$$

    Args:
        ensemble: the distribution at m inputs.
        y: their targets, shape (m, k).

    Returns:
        The mean of `mse_loss`, with the axes of time.

    Raises:
        ValueError: if `y` has another shape than the mean at one time.

    Example:
        >>> import jax.numpy as jnp
        >>> float(expected_mse_loss(Gaussian(jnp.zeros((2, 1)), 3 * jnp.eye(2)), jnp.ones((2, 1))))
        2.0

    Source: paper, eqs 14–15. Oracle: the mean over sampled functions (`tests/test_ensembles.py`).
    """
    if y.shape != ensemble.mean.shape[-2:]:
        raise ValueError(
            f"y: expected targets of shape {ensemble.mean.shape[-2:]} as the mean has, but came {y.shape}."
        )
    bias = jnp.mean((ensemble.mean - jnp.broadcast_to(y, ensemble.mean.shape)) ** 2, axis=(-2, -1))
    return (bias + jnp.mean(ensemble.variance, axis=-1)) / 2


@jax.jit
def _all_layers(
    of: Modes, filters: Float[Array, "t n"], nngp: Array, kernels_test: Kernels, nngp_test: Array, y: Array
) -> _Moments:
    """Eqs 14 and 15 at all times: in the modes of Θ the response is diagonal, and a time costs two products."""
    projected, cross = kernels_test.ntk @ of.vectors, kernels_test.nngp @ of.vectors
    prior = of.vectors.T @ nngp @ of.vectors / 2

    def cov(at: Float[Array, " n"]) -> Float[Array, "..."]:
        response = at[None] * projected
        return nngp_test + _hermitian_sum(response @ prior - cross, response, diagonal=nngp_test.ndim == 1)

    return _mean(of, filters, projected, y), jax.lax.map(cov, filters)


@jax.jit
def _posterior(
    of: Modes, mean_filters: Array, cov_filters: Array, nngp_test_train: Array, nngp_test: Array, y: Array
) -> _Moments:
    """μ = 𝒦(x, X) g(𝒦) y and Σ = 𝒦(x, x) − 𝒦(x, X) h(𝒦) 𝒦(X, x) for every row of the filters g and h."""
    projected = nngp_test_train @ of.vectors

    def cov(at: Float[Array, " n"]) -> Float[Array, "..."]:
        return nngp_test - _hermitian_sum(at[None] * projected, projected / 2, diagonal=nngp_test.ndim == 1)

    return _mean(of, mean_filters, projected, y), jax.lax.map(cov, cov_filters)


def _mean(of: Modes, filters: Float[Array, "t n"], projected: Float[Array, "m n"], y: Array) -> Float[Array, "t m k"]:
    """The kernel in its modes, filtered, on the targets."""
    columns = filters.T[:, :, None] * (y.T @ of.vectors).T[:, None, :]
    return jnp.moveaxis(jnp.tensordot(projected, columns, axes=1), 1, 0)


def _hermitian_sum(left: Float[Array, "m n"], right: Float[Array, "m n"], *, diagonal: bool) -> Float[Array, "..."]:
    """L Rᵀ plus its transpose; or the diagonal of that, without the matrix."""
    if diagonal:
        return 2 * jnp.sum(left * right, axis=1)
    product = left @ right.T
    return product + product.T


def _check_shapes(kernels: Kernels, kernels_test: Kernels, nngp_test: Array, y: Array) -> None:
    """Refuse kernels that are not those of one training set and one set of test inputs."""
    n, m = len(y), len(nngp_test)
    for name, came, expected in [
        ("y", y.shape, (n, *y.shape[1:2])),
        ("kernels.nngp", kernels.nngp.shape, (n, n)),
        ("kernels.ntk", kernels.ntk.shape, (n, n)),
        ("kernels_test.nngp", kernels_test.nngp.shape, (m, n)),
        ("kernels_test.ntk", kernels_test.ntk.shape, (m, n)),
        ("nngp_test", nngp_test.shape, (m,) * nngp_test.ndim),
    ]:
        if came != expected or len(came) > 2:
            raise ValueError(
                f"{name}: expected shape {expected}, with n = {n} rows of targets and m = {m} test inputs, but came "
                f"{came}; kernels are train × train, test × train and test × test."
            )
