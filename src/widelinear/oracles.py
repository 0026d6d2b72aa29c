r"""Slow, obvious and independent: what everything fast is tested against.

Nothing here is called by the rest of the library. Each function computes a definition literally.
"""

from collections.abc import Callable
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Array, Float

from widelinear.kernels import Kernels
from widelinear.linearize import Apply, Params


def gaussian_pair_mean(
    g: Callable[[Float[Array, "q q"], Float[Array, "q q"]], Float[Array, "q q"]], cov: float, var1: float, var2: float
) -> float:
    r"""The mean of a function of a Gaussian pair, by two-dimensional Gauss–Hermite quadrature.

    $$\mathbb{E}[g(u, v)], \qquad
      (u, v) \sim \mathcal{N}\Big(0,
      \begin{pmatrix}\Sigma_{11} & \Sigma_{12}\\ \Sigma_{12} & \Sigma_{22}\end{pmatrix}\Big).$$

    Args:
        g: the function, on arrays.
        cov: $\Sigma_{12}$.
        var1: $\Sigma_{11}$.
        var2: $\Sigma_{22}$.

    Returns:
        The mean: to rounding for smooth `g`, to about 1e-3 across a kink.

    Example:
        >>> bool(abs(gaussian_pair_mean(lambda u, v: u * v, 0.3, 1.0, 2.0) - 0.3) < 1e-5)
        True

    Source: paper, S24. Oracle: moments known by hand (`tests/test_oracles.py`).
    """
    nodes, weights = _normal_rule()
    z1, z2 = np.meshgrid(nodes, nodes, indexing="ij")
    factor = np.linalg.cholesky(np.array([[var1, cov], [cov, var2]]))
    u, v = factor[0, 0] * z1, factor[1, 0] * z1 + factor[1, 1] * z2
    mean = weights @ np.asarray(g(jnp.asarray(u), jnp.asarray(v))) @ weights
    return float(mean)


@cache
def _normal_rule() -> tuple[Float[np.ndarray, "q"], Float[np.ndarray, "q"]]:
    nodes, weights = np.polynomial.hermite_e.hermegauss(128)
    return nodes, weights / np.sqrt(2 * np.pi)


def kinked_pair_mean(
    g: Callable[[Float[Array, "q r"], Float[Array, "q r"]], Float[Array, "q r"]], cov: float, var1: float, var2: float
) -> float:
    r"""The mean of a function of a Gaussian pair that has kinks or jumps at $u = 0$ and $v = 0$.

    $$\mathbb{E}[g(u, v)] = \frac{1}{2\pi}\int_0^{2\pi}\!\int_0^\infty
      g\big(u(r, \psi), v(r, \psi)\big)\,e^{-r^2/2}\,r\,dr\,d\psi$$

    In polar coordinates the kinks are four rays. Gauss–Legendre quadrature runs from ray to ray, Gauss–Laguerre
    quadrature over $r^2/2$.

    Args:
        g: the function, on arrays.
        cov: $\Sigma_{12}$.
        var1: $\Sigma_{11}$.
        var2: $\Sigma_{22}$.

    Returns:
        The mean: to rounding where `g` is a polynomial in $r^2$ along every ray.

    Example:
        >>> bool(abs(kinked_pair_mean(lambda u, v: abs(u * v), 0.0, 1.0, 4.0) - 4 / np.pi) < 1e-5)
        True

    Source: paper, S24. Oracle: moments known by hand (`tests/test_oracles.py`).
    """
    factor = np.linalg.cholesky(np.array([[var1, cov], [cov, var2]]))
    turn = np.arctan2(-factor[1, 0], factor[1, 1])  # here v is 0, and u is 0 at a right angle
    rays = np.sort(np.mod([np.pi / 2, -np.pi / 2, turn, turn + np.pi], 2 * np.pi))
    rays = np.append(rays, rays[0] + 2 * np.pi)
    x, w = np.polynomial.legendre.leggauss(24)
    s, radial = np.polynomial.laguerre.laggauss(24)
    psi = (rays[:-1, None] + (x + 1) / 2 * np.diff(rays)[:, None]).ravel()
    angular = (w / 2 * np.diff(rays)[:, None]).ravel() / (2 * np.pi)
    u, v = (np.outer(row @ np.stack([np.cos(psi), np.sin(psi)]), np.sqrt(2 * s)) for row in factor)
    return float(angular @ np.asarray(g(jnp.asarray(u), jnp.asarray(v))) @ radial)


def jacobian_ntk(
    apply: Apply, params: Params, x1: Float[Array, "n1 ..."], x2: Float[Array, "n2 ..."]
) -> Float[Array, "n1 n2 k k"]:
    r"""The empirical tangent kernel from two explicit Jacobians, parameter by parameter.

    $$\hat\Theta = J(x_1)\,J(x_2)^T.$$

    Args:
        apply: the network, `apply(params, x)`.
        params: its parameters.
        x1: inputs.
        x2: more inputs.

    Returns:
        $\hat\Theta$, shape (n1, n2, k, k).

    Example:
        >>> import jax.numpy as jnp
        >>> jacobian_ntk(lambda w, x: x @ w, jnp.ones((2, 1)), jnp.ones((3, 2)), jnp.ones((1, 2))).shape
        (3, 1, 1, 1)

    Source: paper, eq. 4. Oracle: it is one.
    """

    def jacobian(x: Float[Array, "n ..."]) -> Float[Array, "n k p"]:
        leaves = jax.tree.leaves(jax.jacobian(lambda p: apply(p, x))(params))
        return jnp.concatenate([leaf.reshape(*leaf.shape[:2], -1) for leaf in leaves], axis=-1)

    return jnp.einsum("aip,bjp->abij", jacobian(x1), jacobian(x2))


def gradient_descent(
    apply: Apply,
    params: Params,
    x: Float[Array, "n ..."],
    y: Float[Array, "n k"],
    *,
    learning_rate: float,
    steps: int,
    momentum: float = 0.0,
) -> Params:
    r"""Gradient descent on the summed squared loss, with or without a heavy ball, one Python step after the other.

    $$\theta_{i+1} = \theta_i - \eta\,\nabla_\theta \tfrac12\sum\|f(X) - y\|^2 + \beta\,(\theta_i - \theta_{i-1}).$$

    Args:
        apply: the model, `apply(params, x)`.
        params: where it starts.
        x: training inputs.
        y: training targets.
        learning_rate: $\eta$ for the summed loss.
        steps: how many steps.
        momentum: $\beta$, plain and not Nesterov's.

    Returns:
        The parameters after the last step.

    Example:
        >>> import jax.numpy as jnp
        >>> x, y = jnp.ones((1, 1)), jnp.ones((1, 1))
        >>> gradient_descent(lambda w, x: x @ w, jnp.zeros((1, 1)), x, y, learning_rate=0.5, steps=1).tolist()
        [[0.5]]

    Source: paper, §2.1 and S1. Oracle: it is one.
    """

    def moved(now: Array, before: Array, slope: Array) -> Array:
        return now - learning_rate * slope + momentum * (now - before)

    gradient = jax.jit(jax.grad(lambda p: 0.5 * jnp.sum((apply(p, x) - y) ** 2)))
    before = params
    for _ in range(steps):
        before, params = params, jax.tree.map(moved, params, before, gradient(params))
    return params


def predict_ensemble(
    kernels: Kernels, kernels_test: Kernels, nngp_test: Float[Array, "m m"], y: Float[Array, "n k"], time: float
) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "m m"]]:
    r"""Mean and covariance of the trained ensemble, from a matrix exponential and an inverse.

    $$A = \Theta(x, X)\,\Theta^{-1}\,(I - e^{-\Theta t}), \qquad \mu = A\,y, \qquad
      \Sigma = \mathcal{K}(x, x) + A\,\mathcal{K}\,A^T - A\,\mathcal{K}(X, x) - \mathcal{K}(x, X)\,A^T.$$

    Args:
        kernels: $\mathcal{K}$ and $\Theta$ among the training inputs.
        kernels_test: both between test and training inputs.
        nngp_test: $\mathcal{K}$ among the test inputs.
        y: training targets.
        time: learning rate × steps, for the summed loss.

    Returns:
        $\mu$ and $\Sigma$.

    Example:
        >>> import jax.numpy as jnp
        >>> one = Kernels(jnp.eye(1), jnp.eye(1))
        >>> mean, cov = predict_ensemble(one, one, jnp.eye(1), jnp.ones((1, 1)), time=0.0)
        >>> float(mean[0, 0]), float(cov[0, 0])
        (0.0, 1.0)

    Source: paper, eqs 14–15. Oracle: it is one.
    """
    nngp, ntk, cross, ntk_test = map(np.asarray, (*kernels, *kernels_test))
    response = ntk_test @ np.linalg.inv(ntk) @ (np.eye(len(ntk)) - scipy.linalg.expm(-ntk * time))
    shared = response @ cross.T
    return response @ np.asarray(y), np.asarray(nngp_test) + response @ nngp @ response.T - shared - shared.T
