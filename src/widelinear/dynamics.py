r"""Squared-loss training of a linear model, solved.

Conventions, stated here once. The loss is the *sum* $L = \tfrac12\sum_x\|f(x) - y\|^2$, and time is
learning rate × steps. A loss averaged over examples and outputs, as in the paper's plots, runs slower by their
number: `from_mean_loss` and `to_mean_loss` convert.

Everything follows from one quantity, the dual coefficients $c_t$: outputs on any inputs are
$f_0(x) + \Theta(x, X)\,c_t$, and weights are $\theta_0 + \nabla_\theta f_0(X)^T c_t$. A `Rule` says how each
eigenvector of $\Theta$ is learnt; one eigendecomposition, `modes`, serves all times, rules and targets.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from widelinear.linearize import Apply, Params
from widelinear.rules import FLOW, HeavyBall, Rule, Time


class Modes(NamedTuple):
    r"""The eigendecomposition of a tangent kernel: what is learnt, and how fast.

    $$\Theta = U\,\mathrm{diag}(\lambda)\,U^T.$$

    Args:
        rates: $\lambda$, increasing and not negative, shape (n,).
        vectors: $U$, one eigenvector in each column, shape (n, n).

    Example:
        >>> import jax.numpy as jnp
        >>> Modes(rates=jnp.ones(2), vectors=jnp.eye(2)).rates.shape
        (2,)

    Source: paper, eqs 8–11. Oracle: that of `modes`.
    """

    rates: Float[Array, " n"]
    vectors: Float[Array, "n n"]

    def project(self, ntk_test: Float[Array, "m n"]) -> "Projected":
        r"""A test kernel in these modes, $U^T\,\Theta(X, x)$: do it once where many outputs are to be predicted."""
        _check_columns("ntk_test", ntk_test, len(self.rates))
        return Projected(self.vectors.T @ ntk_test.T)


class Projected(NamedTuple):
    r"""A kernel between test and training inputs, in the modes of the training kernel.

    $$U^T\,\Theta(X, x).$$

    `predict` and `response` take it in place of $\Theta(x, X)$, and then need one product instead of two.

    Args:
        kernel: one mode in each row, shape (n, m).

    Example:
        >>> import jax.numpy as jnp
        >>> Modes(rates=jnp.ones(2), vectors=jnp.eye(2)).project(jnp.ones((3, 2))).kernel.shape
        (2, 3)

    Source: paper, eqs 10 and 11. Oracle: the kernel itself in its place (`tests/test_dynamics.py`).
    """

    kernel: Float[Array, "n m"]


TestKernel = Float[Array, "m p"] | Projected
TrainKernel = Float[Array, "..."] | Modes


def modes(ntk: TrainKernel) -> Modes:
    r"""Factorise a kernel once, to use it for many times, rules, targets and test inputs.

    $$\Theta = U\,\mathrm{diag}(\lambda)\,U^T.$$

    Every function that takes a training kernel takes its modes as well. Rates that are rounding errors of zero, as with
    repeated inputs, are set to zero: training never learns along them, and time $\infty$ gives the pseudo-inverse.
    Derivatives with respect to the kernel exist where its rates are distinct.

    Args:
        ntk: $\Theta(X, X)$, shape (n, n): symmetric, positive semidefinite; float64 for late times. Modes are
            returned as they are.

    Returns:
        `Modes`: rates and eigenvectors.

    Raises:
        ValueError: if `ntk` is not a square matrix, or not symmetric, or has a clearly negative eigenvalue or NaN
            (values are not checked inside `jit`).

    Example:
        >>> import jax.numpy as jnp
        >>> modes(jnp.array([[2.0, 1.0], [1.0, 2.0]])).rates.round(4).tolist()
        [1.0, 3.0]

    Source: paper, eqs 8–11. Oracle: `scipy.linalg.expm` of the matrix itself (`tests/test_dynamics.py`).
    """
    if isinstance(ntk, Modes):
        return ntk
    _check_square(ntk)
    rates, vectors = jnp.linalg.eigh(ntk)
    _check_positive(rates)
    # Where an eigenvalue is 0 the solver leaves about ε·λ_max, whatever n; late training would take that for signal.
    rounding = 10 * jnp.finfo(rates.dtype).eps * rates[-1]
    return Modes(jnp.where(rates > rounding, rates, 0), vectors)


def flatten_outputs(kernel: Float[Array, "n1 n2 k k"]) -> Float[Array, "n1*k n2*k"]:
    r"""A kernel between inputs and outputs as one matrix, for `outputs.reshape(-1, 1)`.

    $$\Theta_{(x, i), (x', j)} = \Theta(x, x')_{ij}.$$

    An infinitely wide network has the same kernel for every output and needs none of this. A finite one couples its
    outputs: flatten its kernel, targets and initial outputs, and reshape the result back.

    Args:
        kernel: for example an `empirical_ntk`, shape (n1, n2, k, k).

    Returns:
        The matrix of shape (n1·k, n2·k); the output index varies fastest.

    Example:
        >>> import jax.numpy as jnp
        >>> flatten_outputs(jnp.ones((3, 2, 5, 5))).shape
        (15, 10)

    Source: paper, eq. 4. Oracle: gradient descent on the linearized network (`tests/test_dynamics.py`).
    """
    n1, n2, k, _ = kernel.shape
    return kernel.transpose(0, 2, 1, 3).reshape(n1 * k, n2 * k)


def from_mean_loss(rate_or_time: Time, y: Float[Array, "n k"]) -> Time:
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

    For heavy-ball momentum convert the learning rate, and compute the time from it: a time with its square root in it
    changes by the square root of the factor.

    Source: paper, footnote 2 of §2.1. Oracle: gradient descent on the averaged loss (`tests/test_dynamics.py`).
    """
    return rate_or_time / y.size


def to_mean_loss(rate_or_time: Time, y: Float[Array, "n k"]) -> Time:
    r"""A learning rate or a time for the summed loss, in units of the averaged loss.

    $$\eta_{\mathrm{mean}} = n\,k\,\eta_{\mathrm{sum}}.$$

    Args:
        rate_or_time: learning rate, or learning rate × steps, of training on the summed loss: for example a critical
            learning rate.
        y: training targets, n examples and k outputs.

    Returns:
        The same for the averaged loss, the one that `train` takes by default.

    Example:
        >>> import jax.numpy as jnp
        >>> to_mean_loss(0.0625, jnp.zeros((8, 2)))
        1.0

    Source: paper, footnote 2 of §2.1. Oracle: `from_mean_loss` (`tests/test_dynamics.py`).
    """
    return rate_or_time * y.size


def dual_coefficients(
    ntk: TrainKernel, residual: Float[Array, "r k"], time: Time, rule: Rule = FLOW
) -> Float[Array, "*t n k"]:
    r"""The dual coefficients of a linear model after training for a time.

    $$c_t = U\,\mathrm{diag}\big(g(\lambda, t)\big)\,U^T (y - f_0(X)), \qquad
      \text{for gradient flow } c_t = \Theta^{-1}\,(I - e^{-\Theta t})\,(y - f_0(X)).$$

    With them $f_t(x) = f_0(x) + \Theta(x, X)\,c_t$ (eqs 9–11) and
    $\theta_t = \theta_0 + \nabla_\theta f_0(X)^T c_t$ (eq. 8).

    Args:
        ntk: $\Theta(X, X)$ on the n training inputs, or its `modes`.
        residual: $y - f_0(X)$, targets minus initial outputs, shape (n, k).
        time: one time or an array of them, for the summed loss; a number of steps where the rule is discrete;
            `jnp.inf` trains to convergence.
        rule: how it is trained; by default gradient flow.

    Returns:
        $c_t$, with the axes of `time` in front.

    Raises:
        ValueError: if `ntk` is no kernel (see `modes`), if `residual` does not have its n rows, or if a time is
            negative or NaN (values are not checked inside `jit`).

    Example:
        At convergence the targets are interpolated:

        >>> import jax.numpy as jnp
        >>> ntk, y = jnp.array([[2.0, 0.5], [0.5, 1.0]]), jnp.array([[1.0], [-1.0]])
        >>> bool(jnp.allclose(ntk @ dual_coefficients(ntk, y, jnp.inf), y, atol=1e-6))
        True

        The first step of gradient descent is the gradient step:

        >>> from widelinear import GradientDescent
        >>> bool(jnp.allclose(dual_coefficients(ntk, y, 1, GradientDescent(0.1)), 0.1 * y))
        True

    Source: paper, eqs 8–11, S1–S4. Oracle: matrix functions, an ODE solver, and gradient descent on the linearized
    network (`tests/test_dynamics.py`).
    """
    of = modes(ntk)
    coefficients = jnp.einsum("nm,mtk->tnk", of.vectors, _learnt(of, residual, time, rule))
    return coefficients.reshape(*jnp.shape(time), *residual.shape)


def predict(
    ntk_test: TestKernel,
    ntk: TrainKernel,
    residual: Float[Array, "r k"],
    f0_test: Float[Array, "q l"],
    time: Time,
    rule: Rule = FLOW,
) -> Float[Array, "*t q l"]:
    r"""The outputs of a linear model on any inputs after training for a time.

    $$f_t(x) = f_0(x) + \Theta(x, X)\,c_t.$$

    Args:
        ntk_test: $\Theta(x, X)$ between the m inputs of interest and the n training inputs; with $\Theta(X, X)$ the
            outputs on the training inputs. To predict many times, `modes(ntk).project(ntk_test)`.
        ntk: $\Theta(X, X)$, or its `modes`; the same modes where `ntk_test` is projected.
        residual: $y - f_0(X)$, shape (n, k).
        f0_test: $f_0(x)$, the initial outputs at the m inputs.
        time: one time or an array of them, as in `dual_coefficients`.
        rule: how it is trained; by default gradient flow.

    Returns:
        $f_t(x)$, shape (m, k), with the axes of `time` in front.

    Raises:
        ValueError: as `dual_coefficients`, or if `ntk_test` does not have n columns.

    Example:
        >>> import jax.numpy as jnp
        >>> ntk, y = jnp.array([[2.0, 0.5], [0.5, 1.0]]), jnp.array([[1.0], [-1.0]])
        >>> predict(ntk, ntk, y, jnp.zeros((2, 1)), jnp.array([0.0, jnp.inf])).round(3).tolist()
        [[[0.0], [0.0]], [[1.0], [-1.0]]]

    Source: paper, eqs 9–11. Oracle: frozen neural-tangents numbers, and gradient descent on the linearized network
    (`tests/test_dynamics.py`).
    """
    of = modes(ntk)
    learnt = _learnt(of, residual, time, rule)
    kernel = ntk_test.kernel.T if isinstance(ntk_test, Projected) else ntk_test
    _check_columns("ntk_test", kernel, len(residual))
    _check_outputs("f0_test", f0_test, (len(kernel), residual.shape[1]))
    if isinstance(ntk_test, Projected):
        change = _sum_over_modes(ntk_test.kernel, learnt)
    else:
        change = jnp.einsum("mn,ntk->tmk", ntk_test, jnp.tensordot(of.vectors, learnt, axes=1))
    change = change.reshape(*jnp.shape(time), *f0_test.shape)
    return jnp.broadcast_to(f0_test, change.shape) + change


def response(ntk_test: TestKernel, ntk: TrainKernel, time: Time, rule: Rule = FLOW) -> Float[Array, "*t m n"]:
    r"""How the output at every input answers to every training target.

    $$A_t = \Theta(x, X)\,\Theta^{-1}\,(I - e^{-\Theta t}), \qquad f_t(x) = f_0(x) + A_t\,(y - f_0(X)).$$

    Where outputs are all that is wanted, `predict` is cheaper: it needs no matrix for each time.

    Args:
        ntk_test: $\Theta(x, X)$ between the m inputs of interest and the n training inputs.
        ntk: $\Theta(X, X)$, or its `modes`.
        time: one time or an array of them, as in `dual_coefficients`.
        rule: how it is trained; by default gradient flow.

    Returns:
        $A_t$, shape (m, n), with the axes of `time` in front.

    Raises:
        ValueError: as `dual_coefficients`, or if `ntk_test` does not have n columns.

    Example:
        On the training inputs, trained to convergence, every target is met:

        >>> import jax.numpy as jnp
        >>> ntk = jnp.array([[2.0, 0.5], [0.5, 1.0]])
        >>> bool(jnp.allclose(response(ntk, ntk, jnp.inf), jnp.eye(2), atol=1e-6))
        True

    Source: paper, eqs 10, 11 and 15. Oracle: the matrix exponential (`tests/test_dynamics.py`).
    """
    of, times = modes(ntk), jnp.asarray(time)
    projected = (ntk_test if isinstance(ntk_test, Projected) else of.project(ntk_test)).kernel.T
    filters = rule.spectral_filter(of.rates[None], times.reshape(-1, 1))
    responses = (filters[:, None] * projected[None]) @ of.vectors.T
    return responses.reshape(*times.shape, *projected.shape)


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


class CriticalLearningRate(NamedTuple):
    r"""Two thresholds for the learning rate of gradient descent on the summed loss.

    $$\eta_{\mathrm{theorem}} = \frac{2}{\lambda_{\min} + \lambda_{\max}}, \qquad
      \eta_{\mathrm{stability}} = \frac{2\,(1 + \beta)}{\lambda_{\max}}.$$

    Args:
        theorem: below it, without momentum, the paper's theorems hold: every step shrinks the residual at least by the
            factor $1 - \eta\lambda_{\min}$.
        stability: below it the linear model converges, above it the linear model diverges.

    Example:
        >>> CriticalLearningRate(theorem=0.5, stability=2 / 3).theorem
        0.5

    Source: paper, §2.4, S62 and §B.1. Oracle: that of `critical_learning_rate`.
    """

    theorem: Float[Array, ""] | float
    stability: Float[Array, ""] | float


def critical_learning_rate(ntk: TrainKernel, momentum: float | Float[Array, ""] = 0.0) -> CriticalLearningRate:
    r"""The learning rates of the summed loss at which theory and training stop working.

    $$\frac{2}{\lambda_{\min} + \lambda_{\max}} \le \eta_{\mathrm{stability}} = \frac{2\,(1 + \beta)}{\lambda_{\max}}.$$

    For the averaged loss pass either through `to_mean_loss`.

    Args:
        ntk: $\Theta(X, X)$, or its `modes`.
        momentum: $\beta$ of heavy-ball momentum, for the second threshold; the first is the theorem's, without it.

    Returns:
        `CriticalLearningRate`: the theorem's threshold, and that of stability.

    Raises:
        ValueError: if `ntk` is no kernel (see `modes`), or the momentum is outside $[0, 1)$.

    Example:
        >>> import jax.numpy as jnp
        >>> [round(float(rate), 4) for rate in critical_learning_rate(jnp.diag(jnp.array([1.0, 3.0])))]
        [0.5, 0.6667]

    Source: paper, §2.4, S62 and §B.1. Oracle: a loop over steps on both sides of it (`tests/test_dynamics.py`).
    """
    HeavyBall(1.0, momentum)
    rates = modes(ntk).rates
    return CriticalLearningRate(theorem=2 / (rates[0] + rates[-1]), stability=2 * (1 + momentum) / rates[-1])


def _learnt(of: Modes, residual: Float[Array, "r k"], time: Time, rule: Rule) -> Float[Array, "n t k"]:
    """The dual coefficients of the modes, all times on one axis: times and outputs are columns of a single product."""
    rates, vectors = of
    _check_residual(residual, len(rates))
    filters = rule.spectral_filter(rates[:, None], jnp.asarray(time).reshape(1, -1))
    in_modes = (residual.T @ vectors).T  # Uᵀ r, in an order that reads the rows of U: a CPU is slow with columns
    return filters[:, :, None] * in_modes[:, None, :]


def _sum_over_modes(kernel: Float[Array, "n m"], learnt: Float[Array, "n t k"]) -> Float[Array, "t m k"]:
    """One product, with the modes as rows of both factors: one core multiplies so faster, and two no slower."""
    products = learnt.reshape(len(learnt), -1).T @ kernel
    return products.reshape(*learnt.shape[1:], -1).swapaxes(1, 2)


def _check_square(ntk: Float[Array, "..."]) -> None:
    """Refuse what is no symmetric matrix."""
    if ntk.ndim == 4:
        raise ValueError(
            f"ntk: expected a matrix, but came shape {ntk.shape} with axes for outputs; take kernel[:, :, 0, 0] of a "
            "network with one output, or flatten_outputs(kernel) and outputs.reshape(-1, 1)."
        )
    if ntk.ndim != 2 or ntk.shape[0] != ntk.shape[1]:
        raise ValueError(
            f"ntk: expected the kernel among the training inputs, shape (n, n), but came {ntk.shape}; "
            "a kernel between test and training inputs goes into ntk_test."
        )
    if isinstance(ntk, jax.core.Tracer):
        return
    known = np.asarray(ntk)  # with JAX's functions it would be traced inside `jit`
    asymmetry, size = np.abs(known - known.T).max(), np.abs(known).max()
    if asymmetry > 1e-4 * size:
        raise ValueError(
            f"ntk: expected a symmetric matrix, but entries across the diagonal differ by {asymmetry:.3g} (largest "
            f"entry {size:.3g}); pass the kernel of the training inputs with themselves."
        )


def _check_positive(rates: Float[Array, " n"]) -> None:
    """Refuse a matrix that is no kernel; rounding may leave eigenvalues a little below zero."""
    if isinstance(rates, jax.core.Tracer):
        return
    smallest, largest = np.asarray(rates)[[0, -1]]
    rounding = 10 * len(rates) * jnp.finfo(rates.dtype).eps * abs(largest)
    if not smallest >= -rounding:  # NaN is refused too
        raise ValueError(
            f"the tangent kernel must be positive semidefinite, but its smallest eigenvalue is {smallest:.3g} (largest "
            f"{largest:.3g}, dtype {rates.dtype}); use float64, check the inputs for NaN, or add a small multiple of "
            "the identity, which changes the limit at late times."
        )


def _check_residual(residual: Float[Array, "r k"], n: int) -> None:
    if residual.ndim != 2 or len(residual) != n:
        raise ValueError(
            f"residual: expected targets minus initial outputs, shape (n, k) with n = {n} as in the training kernel, "
            f"but came {residual.shape}; one output is a column, residual[:, None]."
        )


def _check_columns(name: str, kernel: Float[Array, "m p"], n: int) -> None:
    if kernel.ndim != 2 or kernel.shape[1] != n:
        raise ValueError(
            f"{name}: expected test × training inputs, shape (m, n) with n = {n} as in the training kernel, but came "
            f"{kernel.shape}; transpose it, or compute it between the test and the training inputs."
        )


def _check_outputs(name: str, outputs: Float[Array, "q l"], shape: tuple[int, int]) -> None:
    if outputs.shape != shape:
        raise ValueError(
            f"{name}: expected shape {shape}, the rows of the test kernel and the outputs of the residual, but came "
            f"{outputs.shape}."
        )
