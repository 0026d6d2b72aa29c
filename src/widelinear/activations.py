r"""Activations as data: a function and its two dual maps.

For a Gaussian pair $(u, v)$ with covariance $\Sigma$ an activation $\phi$ enters the theory of
infinitely wide networks only through

$$\mathcal{T}(\Sigma) = \mathbb{E}[\phi(u)\,\phi(v)], \qquad
  \dot{\mathcal{T}}(\Sigma) = \mathbb{E}[\phi'(u)\,\phi'(v)],$$

so an `Activation` is $\phi$ together with these two maps. Price's theorem,
$\dot{\mathcal{T}} = \partial\mathcal{T}/\partial\Sigma_{12}$, ties them; one test holds every pair to it.

Across a kink the maps depend on the angle between the inputs, and an angle taken from $\Sigma_{12}$ loses half its
digits where the inputs are close. So kernels carry the gap beside the covariance, half the expected squared distance

$$g = \tfrac12\,\mathbb{E}[(u - v)^2] = \tfrac12(\Sigma_{11} + \Sigma_{22}) - \Sigma_{12},$$

which keeps all of its digits; `Activation.moments` maps both.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from widelinear.angles import angle_of_versine, arcsin, safe_sqrt

DualMap = Callable[[Float[Array, "*#pairs"], Float[Array, "*#pairs"], Float[Array, "*#pairs"]], Float[Array, "*#pairs"]]
NearMap = Callable[
    [Float[Array, "*#pairs"], Float[Array, "*#pairs"], Float[Array, "*#pairs"]],
    tuple[Float[Array, "*#pairs"], Float[Array, "*#pairs"]],
]


class Moments(NamedTuple):
    r"""What a layer of activations makes of a pair of inputs.

    Args:
        dual: $\mathcal{T} = \mathbb{E}[\phi(u)\,\phi(v)]$.
        dual_dot: $\dot{\mathcal{T}} = \mathbb{E}[\phi'(u)\,\phi'(v)]$.
        gap: $\tfrac12\,\mathbb{E}[(\phi(u) - \phi(v))^2]$.

    Example:
        >>> import jax.numpy as jnp
        >>> one = jnp.asarray(1.0)
        >>> [m.item() for m in relu.moments(0 * one, one, one, one)]
        [0.5, 0.5, 0.0]

    Source: paper, S24. Oracle: quadrature in two dimensions (`tests/test_activations.py`).
    """

    dual: Float[Array, "*#pairs"]
    dual_dot: Float[Array, "*#pairs"]
    gap: Float[Array, "*#pairs"]


@dataclass(frozen=True)
class Activation:
    r"""A scalar function $\phi$ with its dual maps $\mathcal{T}$ and $\dot{\mathcal{T}}$.

    Args:
        name: the name it is printed by.
        phi: $\phi$, applied to every entry of an array.
        dual: $\mathcal{T}$ as a function `(cov, var1, var2)` of $\Sigma_{12}$, $\Sigma_{11}$, $\Sigma_{22}$, by entry.
        dual_dot: $\dot{\mathcal{T}}$, with the same arguments.
        near: for a $\phi$ with a kink, a function `(gap, var1, var2)` that gives the gap after $\phi$, and
            $\dot{\mathcal{T}}$, without cancellation where the inputs are close. A smooth $\phi$ needs none.
        second_moment: $\mathbb{E}[\phi(u)^2]$ as a function of $\Sigma_{11}$, where that is shorter than `dual`.

    Example:
        A function of your own, here $\phi(x) = x$:

        >>> import jax.numpy as jnp
        >>> line = Activation("line", lambda x: x, lambda cov, *_: cov, lambda cov, *_: jnp.ones_like(cov))
        >>> line
        line

    Source: paper, S24. Oracle: quadrature in two dimensions, and Price's theorem (`tests/test_activations.py`).
    """

    name: str
    phi: Callable[[Array], Array]
    dual: DualMap
    dual_dot: DualMap
    near: NearMap | None = None
    second_moment: Callable[[Array], Array] | None = None

    def __repr__(self) -> str:
        return self.name

    def square(self, var: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
        r"""The second moment of one variable, $\mathbb{E}[\phi(u)^2]$.

        Args:
            var: $\mathbb{E}[u^2]$.

        Returns:
            $\mathcal{T}$ at coinciding inputs: the diagonal of the next kernel.
        """
        return self.dual(var, var, var) if self.second_moment is None else self.second_moment(var)

    def moments(
        self,
        gap: Float[Array, "*#pairs"],
        cov: Float[Array, "*#pairs"],
        var1: Float[Array, "*#pairs"],
        var2: Float[Array, "*#pairs"],
    ) -> Moments:
        r"""Both dual maps, and the gap after $\phi$.

        $$g' = \tfrac12\big(\mathbb{E}[\phi(u)^2] + \mathbb{E}[\phi(v)^2]\big) - \mathcal{T}(\Sigma)$$

        Inputs that coincide stay so: a gap of 0 gives a gap of 0.

        Args:
            gap: $\tfrac12(\Sigma_{11} + \Sigma_{22}) - \Sigma_{12}$, however it was computed.
            cov: $\Sigma_{12}$.
            var1: $\Sigma_{11}$, of a shape that broadcasts with that of `cov`.
            var2: $\Sigma_{22}$, likewise.

        Returns:
            Their values, in the shape and dtype of `cov`.
        """
        middle = (self.square(var1) + self.square(var2)) / 2
        if self.near is not None:
            after, dual_dot = self.near(gap, var1, var2)
            return Moments(middle - after, dual_dot, after)
        dual = self.dual(cov, var1, var2)
        apart = (gap != 0) & (middle > dual)
        return Moments(dual, self.dual_dot(cov, var1, var2), jnp.where(apart, middle - dual, jnp.zeros_like(dual)))


def _inverse(x: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    """1/x, and 0 where x is 0: a standard deviation of 0 belongs to a variable that has no direction."""
    return jnp.where(x > 0, 1 / jnp.where(x > 0, x, jnp.ones_like(x)), jnp.zeros_like(x))


def _versine(
    gap: Float[Array, "*#pairs"], var1: Float[Array, "*#pairs"], var2: Float[Array, "*#pairs"]
) -> Float[Array, "*#pairs"]:
    r"""$1 - \cos\theta = (g - (\sqrt{\Sigma_{11}} - \sqrt{\Sigma_{22}})^2/2) / \sqrt{\Sigma_{11}\Sigma_{22}}$.

    What is left below the rounding of the two variances is no angle: parallel inputs stay so, whatever their norms.
    All but two products and two differences is done once for a row or column of a matrix, not for every entry.
    """
    std1, std2 = safe_sqrt(var1), safe_sqrt(var2)
    turn = gap - (std1 - std2) ** 2 / 2
    rounding = 4 * float(jnp.finfo(gap.dtype).eps) * jnp.abs(var1 - var2)
    return jnp.where(turn > rounding, turn, jnp.zeros_like(turn)) * (_inverse(std1) * _inverse(std2))


def _abrelu(name: str, phi: Callable[[Array], Array], a: float, b: float) -> Activation:
    r"""$\phi(x) = a\max(x, 0) + b\max(-x, 0)$: with $\theta$ the angle between the inputs,

    $$\mathcal{T} = c\,\Sigma_{12} + \kappa\sqrt{\Sigma_{11}\Sigma_{22}}\,(\sin\theta - \theta\cos\theta), \qquad
      \dot{\mathcal{T}} = c - \kappa\,\theta, \qquad c = \frac{a^2 + b^2}{2}, \quad \kappa = \frac{(a + b)^2}{2\pi}.$$
    """
    c, kappa = (a**2 + b**2) / 2, (a + b) ** 2 / (2 * jnp.pi)

    def near(gap: Array, var1: Array, var2: Array) -> tuple[Array, Array]:
        angle, excess = angle_of_versine(_versine(gap, var1, var2))
        after = c * gap - (kappa * safe_sqrt(var1)) * safe_sqrt(var2) * excess
        return jnp.where(after < 0, jnp.zeros_like(after), after), c - kappa * angle

    def angle_and_excess(cov: Array, var1: Array, var2: Array) -> tuple[Array, Array]:
        return angle_of_versine(_versine(((var1 - cov) + (var2 - cov)) / 2, var1, var2))

    def dual(cov: Array, var1: Array, var2: Array) -> Array:
        excess = angle_and_excess(cov, var1, var2)[1]
        return c * cov + (kappa * safe_sqrt(var1)) * safe_sqrt(var2) * excess

    def dual_dot(cov: Array, var1: Array, var2: Array) -> Array:
        return c - kappa * angle_and_excess(cov, var1, var2)[0]

    return Activation(name, phi, dual, dual_dot, near, second_moment=lambda var: c * var)


def _erf_cosine(cov: Array, var1: Array, var2: Array) -> tuple[Array, Array]:
    r"""$2\Sigma_{12}/\sqrt{(1 + 2\Sigma_{11})(1 + 2\Sigma_{22})}$, and the inverse of this denominator."""
    scale = jax.lax.rsqrt(1 + 2 * var1) * jax.lax.rsqrt(1 + 2 * var2)
    return 2 * cov * scale, scale


def _erf_dual(cov: Array, var1: Array, var2: Array) -> Array:
    return (2 / jnp.pi) * arcsin(_erf_cosine(cov, var1, var2)[0])


def _erf_dual_dot(cov: Array, var1: Array, var2: Array) -> Array:
    cosine, scale = _erf_cosine(cov, var1, var2)
    # 1 − cosine², which is at least this floor because Σ₁₂² ≤ Σ₁₁Σ₂₂: rounding cannot bring it to 0.
    floor = (1 + 2 * var1 + 2 * var2) * scale**2
    return (4 / jnp.pi) * scale * jax.lax.rsqrt(jnp.maximum((1 - cosine) * (1 + cosine), floor))


relu = _abrelu("relu", jax.nn.relu, 1.0, 0.0)
r"""$\phi(x) = \max(x, 0)$; its dual maps are S12–S15 of the paper."""

erf = Activation("erf", jax.scipy.special.erf, _erf_dual, _erf_dual_dot)
r"""$\phi(x) = \operatorname{erf}(x)$; its dual maps are S16 and S17 of the paper. Smooth, as the theorems assume."""

identity = Activation(
    "identity",
    phi=lambda x: x,
    dual=lambda cov, var1, var2: cov,
    dual_dot=lambda cov, var1, var2: jnp.ones_like(cov),
    near=lambda gap, var1, var2: (gap, jnp.ones_like(gap)),
    second_moment=lambda var: var,
)
r"""$\phi(x) = x$: a deep linear network."""
