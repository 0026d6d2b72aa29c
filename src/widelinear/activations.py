r"""Activations as data: a function and its two dual maps.

For a Gaussian pair $(u, v)$ with covariance $\Sigma$ an activation $\phi$ enters the theory of
infinitely wide networks only through

$$\mathcal{T}(\Sigma) = \mathbb{E}[\phi(u)\,\phi(v)], \qquad
  \dot{\mathcal{T}}(\Sigma) = \mathbb{E}[\phi'(u)\,\phi'(v)],$$

so an `Activation` is $\phi$ together with these two maps. Price's theorem,
$\dot{\mathcal{T}} = \partial\mathcal{T}/\partial\Sigma_{12}$, ties them; one test holds every pair to it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

DualMap = Callable[[Float[Array, "*pairs"], Float[Array, "*pairs"], Float[Array, "*pairs"]], Float[Array, "*pairs"]]


@dataclass(frozen=True)
class Activation:
    r"""A scalar function $\phi$ with its dual maps $\mathcal{T}$ and $\dot{\mathcal{T}}$.

    Args:
        name: the name it is printed by.
        phi: $\phi$, applied to every entry of an array.
        dual: $\mathcal{T}$ as a function `(cov, var1, var2)` of $\Sigma_{12}$, $\Sigma_{11}$, $\Sigma_{22}$, by entry.
        dual_dot: $\dot{\mathcal{T}}$, with the same arguments.

    Example:
        A function of your own, here $\phi(x) = x$:

        >>> import jax.numpy as jnp
        >>> line = Activation("line", lambda x: x, lambda cov, *_: cov, lambda cov, *_: jnp.ones_like(cov))
        >>> line
        line

    Source: paper, S24. Oracle: Gauss–Hermite quadrature, and Price's theorem (`tests/test_activations.py`).
    """

    name: str
    phi: Callable[[Array], Array]
    dual: DualMap
    dual_dot: DualMap

    def __repr__(self) -> str:
        return self.name


def _angle(
    cov: Float[Array, "*pairs"], var1: Float[Array, "*pairs"], var2: Float[Array, "*pairs"]
) -> tuple[Float[Array, "*pairs"], Float[Array, "*pairs"]]:
    r"""$\sqrt{\det\Sigma}$ and the angle $\theta = \arccos(\Sigma_{12}/\sqrt{\Sigma_{11}\Sigma_{22}})$.

    The determinant is written with differences of neighbouring numbers: equal inputs give exactly 0, where
    $\Sigma_{11}\Sigma_{22} - \Sigma_{12}^2$ leaves a rounding error $\epsilon$ and so an angle of $\sqrt\epsilon$.
    At 0 the square root has no finite derivative; the inner `where` keeps that out of gradients.
    """
    det = ((var1 - cov) * (var2 + cov) + (var2 - cov) * (var1 + cov)) / 2
    apart = det > 0
    root = jnp.where(apart, jnp.sqrt(jnp.where(apart, det, jnp.ones_like(det))), jnp.zeros_like(det))
    return root, jnp.arctan2(root, cov)


def _relu_dual(
    cov: Float[Array, "*pairs"], var1: Float[Array, "*pairs"], var2: Float[Array, "*pairs"]
) -> Float[Array, "*pairs"]:
    root, angle = _angle(cov, var1, var2)
    return (root + (jnp.pi - angle) * cov) / (2 * jnp.pi)


def _relu_dual_dot(
    cov: Float[Array, "*pairs"], var1: Float[Array, "*pairs"], var2: Float[Array, "*pairs"]
) -> Float[Array, "*pairs"]:
    _, angle = _angle(cov, var1, var2)
    return (jnp.pi - angle) / (2 * jnp.pi)


def _erf_dual(
    cov: Float[Array, "*pairs"], var1: Float[Array, "*pairs"], var2: Float[Array, "*pairs"]
) -> Float[Array, "*pairs"]:
    return (2 / jnp.pi) * jnp.arcsin(2 * cov / jnp.sqrt((1 + 2 * var1) * (1 + 2 * var2)))


def _erf_dual_dot(
    cov: Float[Array, "*pairs"], var1: Float[Array, "*pairs"], var2: Float[Array, "*pairs"]
) -> Float[Array, "*pairs"]:
    return (4 / jnp.pi) / jnp.sqrt((1 + 2 * var1) * (1 + 2 * var2) - 4 * cov**2)


relu = Activation("relu", jax.nn.relu, _relu_dual, _relu_dual_dot)
r"""$\phi(x) = \max(x, 0)$; its dual maps are S12–S15 of the paper."""

erf = Activation("erf", jax.scipy.special.erf, _erf_dual, _erf_dual_dot)
r"""$\phi(x) = \operatorname{erf}(x)$; its dual maps are S16 and S17 of the paper. Smooth, as the theorems assume."""

identity = Activation("identity", lambda x: x, lambda cov, var1, var2: cov, lambda cov, var1, var2: jnp.ones_like(cov))
r"""$\phi(x) = x$: a deep linear network."""
