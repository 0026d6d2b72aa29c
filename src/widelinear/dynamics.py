r"""Squared-loss training of a linear model, solved.

Conventions, stated here once. The loss is the *sum* $L = \tfrac12\sum_x\|f(x) - y\|^2$, and time is
learning rate × steps. A loss averaged over examples and outputs, as in the paper's plots, runs slower by their
number: `from_mean_loss` is the one conversion.

Everything follows from one quantity, the dual coefficients $c_t$: outputs on any inputs are
$f_0(x) + \Theta(x, X)\,c_t$, and weights are $\theta_0 + \nabla_\theta f_0(X)^T c_t$.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from widelinear.linearize import Apply, Params


def from_mean_loss(rate_or_time: Float[Array, "*t"] | float, y: Float[Array, "n k"]) -> Float[Array, "*t"] | float:
    r"""A learning rate or a time for the averaged loss, in units of the summed loss.

    $$\eta_{\mathrm{sum}} = \frac{\eta_{\mathrm{mean}}}{n\,k}: \qquad
      \tfrac{1}{2nk}\sum\|f - y\|^2 \text{ has a gradient smaller by } nk.$$

    Args:
        rate_or_time: learning rate, or learning rate × steps, of training on the loss averaged over the n examples
            and the k outputs.
        y: training targets.

    Returns:
        The same for the summed loss.

    Example:
        >>> import jax.numpy as jnp
        >>> from_mean_loss(1.0, jnp.zeros((8, 2)))
        0.0625

    Source: paper, footnote 2 of §2.1. Oracle: gradient descent on the averaged loss (`tests/test_dynamics.py`).
    """
    return rate_or_time / y.size


def dual_coefficients(
    ntk: Float[Array, "n n"], residual: Float[Array, "n k"], time: Float[Array, "*t"] | float
) -> Float[Array, "*t n k"]:
    r"""The dual coefficients of a linear model after gradient flow for a time.

    $$c_t = \Theta^{-1}\,(I - e^{-\Theta t})\,(y - f_0(X)).$$

    With them $f_t(x) = f_0(x) + \Theta(x, X)\,c_t$ (eqs 9–11) and
    $\theta_t = \theta_0 + \nabla_\theta f_0(X)^T c_t$ (eq. 8).
    One eigendecomposition serves all times.

    Args:
        ntk: $\Theta(X, X)$ on the n training inputs: symmetric, positive semidefinite; float64 for late times.
        residual: $y - f_0(X)$, targets minus initial outputs.
        time: one time or an array of them, for the summed loss; `jnp.inf` trains to convergence.

    Returns:
        $c_t$, with the axes of `time` in front.

    Raises:
        ValueError: if `ntk` has a clearly negative eigenvalue (not checked inside `jit`).

    Example:
        At convergence the targets are interpolated:

        >>> import jax.numpy as jnp
        >>> ntk, y = jnp.array([[2.0, 0.5], [0.5, 1.0]]), jnp.array([[1.0], [-1.0]])
        >>> bool(jnp.allclose(ntk @ dual_coefficients(ntk, y, jnp.inf), y, atol=1e-6))
        True

    Source: paper, eqs 8–11. Oracle: the matrix exponential, and an ODE solver (`tests/test_dynamics.py`).
    """
    return _filtered(ntk, residual, _flow_filter, jnp.asarray(time, ntk.dtype))


def dual_coefficients_gd(
    ntk: Float[Array, "n n"], residual: Float[Array, "n k"], learning_rate: float, steps: Int[Array, "*t"] | int
) -> Float[Array, "*t n k"]:
    r"""The dual coefficients of a linear model after exact steps of gradient descent.

    $$c_i = \Theta^{-1}\,\big(I - (I - \eta\Theta)^i\big)\,(y - f_0(X)).$$

    It agrees with `dual_coefficients` at time $\eta i$ up to $O(\eta)$, and is exact at any $\eta$, stable or not.

    Args:
        ntk: $\Theta(X, X)$ on the n training inputs.
        residual: $y - f_0(X)$, targets minus initial outputs.
        learning_rate: $\eta$ for the summed loss.
        steps: one number $i$ of steps or an array of them.

    Returns:
        $c_i$, with the axes of `steps` in front.

    Raises:
        ValueError: if `ntk` has a clearly negative eigenvalue (not checked inside `jit`).

    Example:
        The first step is the gradient step:

        >>> import jax.numpy as jnp
        >>> ntk, y = jnp.array([[2.0, 0.5], [0.5, 1.0]]), jnp.array([[1.0], [-1.0]])
        >>> bool(jnp.allclose(dual_coefficients_gd(ntk, y, 0.1, 1), 0.1 * y))
        True

    Source: paper, §2.1 with errata E1. Oracle: gradient descent on the linearized network (`tests/test_dynamics.py`).
    """

    def gd_filter(rates: Float[Array, " n"], steps: Float[Array, ""]) -> Float[Array, " n"]:
        return _gd_filter(rates, steps, learning_rate)

    return _filtered(ntk, residual, gd_filter, jnp.asarray(steps, ntk.dtype))


def weight_change(
    apply: Apply, params0: Params, x_train: Float[Array, "n ..."], coefficients: Float[Array, "n k"]
) -> Params:
    r"""How far the weights of the linearized network have moved.

    $$\omega_t = \theta_t - \theta_0 = \nabla_\theta f_0(X)^T c_t.$$

    Args:
        apply: the network, `apply(params, x)`.
        params0: $\theta_0$.
        x_train: the training inputs $X$.
        coefficients: $c_t$ of one time; cast to the dtype of the outputs.

    Returns:
        $\omega_t$, a pytree like `params0`.

    Example:
        >>> import jax.numpy as jnp
        >>> apply, x = (lambda params, x: x @ params), jnp.array([[1.0, 2.0]])
        >>> weight_change(apply, jnp.zeros((2, 1)), x, jnp.array([[3.0]])).tolist()
        [[3.0], [6.0]]

    Source: paper, eq. 8. Oracle: gradient descent on the linearized network (`tests/test_dynamics.py`).
    """
    outputs, pull_back = jax.vjp(lambda p: apply(p, x_train), params0)
    (change,) = pull_back(coefficients.astype(outputs.dtype))
    return change


def _filtered(
    ntk: Float[Array, "n n"],
    residual: Float[Array, "n k"],
    spectral_filter: Callable[[Float[Array, " n"], Float[Array, ""]], Float[Array, " n"]],
    times: Float[Array, "*t"],
) -> Float[Array, "*t n k"]:
    """Apply `spectral_filter(eigenvalues, time)` to the residual, mode by mode, at every time."""
    rates, modes = jnp.linalg.eigh(ntk)
    _check_positive(rates)
    rates = jnp.maximum(rates, 0)
    amplitudes = modes.T @ residual

    def at(time: Float[Array, ""]) -> Float[Array, "n k"]:
        return modes @ (spectral_filter(rates, time)[:, None] * amplitudes)

    return jax.vmap(at)(times.reshape(-1)).reshape(*times.shape, *residual.shape)


def _check_positive(rates: Float[Array, " n"]) -> None:
    """Refuse a matrix that is no kernel; rounding may leave eigenvalues a little below zero."""
    if isinstance(rates, jax.core.Tracer):
        return
    smallest, largest = np.asarray(rates)[[0, -1]]
    rounding = 10 * len(rates) * jnp.finfo(rates.dtype).eps * abs(largest)
    if not smallest >= -rounding:  # NaN is refused too
        raise ValueError(
            f"the tangent kernel must be positive semidefinite, but its smallest eigenvalue is {smallest:.3g} (largest "
            f"{largest:.3g}, dtype {rates.dtype}); use float64, check the inputs for NaN, or pass a symmetric matrix."
        )


def _flow_filter(rates: Float[Array, " n"], time: Float[Array, ""]) -> Float[Array, " n"]:
    """(1 − e^{−λt}) / λ, and its limit t where λ is 0."""
    positive = rates > 0
    safe = jnp.where(positive, rates, jnp.ones_like(rates))
    # A mode with λ = 0 changes no output, whatever its coefficient; at t = ∞ a finite one keeps 0 · ∞ away.
    unlearnt = jnp.where(jnp.isfinite(time), time, jnp.zeros_like(time))
    return jnp.where(positive, -jnp.expm1(-safe * time) / safe, unlearnt)


def _gd_filter(rates: Float[Array, " n"], steps: Float[Array, ""], learning_rate: float) -> Float[Array, " n"]:
    """(1 − (1 − ηλ)^i) / λ, without cancellation where ηλ is small, and its limit ηi where λ is 0."""
    positive = rates > 0
    safe = jnp.where(positive, rates, jnp.ones_like(rates))
    progress = learning_rate * safe
    gentle = progress < 1
    remaining_log = jnp.log1p(-jnp.where(gentle, progress, jnp.zeros_like(progress)))
    learnt = jnp.where(gentle, -jnp.expm1(steps * remaining_log), 1 - (1 - progress) ** steps)
    return jnp.where(positive, learnt / safe, learning_rate * steps)
