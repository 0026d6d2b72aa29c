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

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from widelinear.angles import angle_of_versine, arcsin, inverse, safe_sqrt
from widelinear.hermite import derivative, mehler

Phi = Callable[[Array], Array]
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
    phi: Phi
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
    return jnp.where(turn > rounding, turn, jnp.zeros_like(turn)) * (inverse(std1) * inverse(std2))


def _angle_between(cov: Array, var1: Array, var2: Array) -> tuple[Array, Array]:
    """θ and sin θ − θ cos θ from a covariance. Differences of neighbouring numbers give equal inputs the angle 0."""
    return angle_of_versine(_versine(((var1 - cov) + (var2 - cov)) / 2, var1, var2))


@cache
def _abrelu(name: str, a: float, b: float) -> Activation:
    r"""With $\theta$ the angle between the inputs, $c = (a^2 + b^2)/2$ and $\kappa = (a + b)^2/2\pi$,

    $$\mathcal{T} = c\,\Sigma_{12} + \kappa\sqrt{\Sigma_{11}\Sigma_{22}}\,(\sin\theta - \theta\cos\theta), \qquad
      \dot{\mathcal{T}} = c - \kappa\,\theta.$$
    """
    c, kappa = (a**2 + b**2) / 2, (a + b) ** 2 / (2 * math.pi)

    def phi(x: Array) -> Array:
        return jnp.where(x > 0, a * x, -b * x)

    def bend(excess: Array, var1: Array, var2: Array) -> Array:
        return (kappa * safe_sqrt(var1)) * safe_sqrt(var2) * excess

    def dual(cov: Array, var1: Array, var2: Array) -> Array:
        return c * cov + bend(_angle_between(cov, var1, var2)[1], var1, var2)

    def dual_dot(cov: Array, var1: Array, var2: Array) -> Array:
        return c - kappa * _angle_between(cov, var1, var2)[0]

    def near(gap: Array, var1: Array, var2: Array) -> tuple[Array, Array]:
        angle, excess = angle_of_versine(_versine(gap, var1, var2))
        after = c * gap - bend(excess, var1, var2)
        return jnp.where(after < 0, jnp.zeros_like(after), after), c - kappa * angle

    return Activation(name, phi, dual, dual_dot, near, second_moment=lambda var: c * var)


def abrelu(a: float, b: float) -> Activation:
    r"""Two half-lines that meet at 0: every function with $\phi(\lambda x) = \lambda\,\phi(x)$ for $\lambda \ge 0$.

    $$\phi(x) = a\max(x, 0) + b\max(-x, 0)$$

    From the gap its maps keep their digits at any distance, and for inputs of equal norm so does the angle.
    Norms that differ by a share $\delta$ leave up to $\sqrt{\epsilon\,\delta}$ of doubt in the angle; what is below it
    counts as parallel. A variable of variance 0 makes the angle 0.

    Args:
        a: slope on the right.
        b: minus the slope on the left.

    Returns:
        The activation; the same one for the same slopes, so that equal networks are equal.

    Example:
        >>> abrelu(1.0, 0.0).phi(jnp.array([-2.0, 3.0])).tolist(), abrelu(1.0, 1.0).phi(jnp.array([-2.0, 3.0])).tolist()
        ([0.0, 3.0], [2.0, 3.0])

    Source: paper, S12–S15; Cho and Saul (2009). Oracle: quadrature in polar coordinates (`tests/test_activations.py`).
    """
    return _abrelu(f"abrelu({a:g}, {b:g})", float(a), float(b))


def leaky_relu(slope: float = 0.01) -> Activation:
    r"""ReLU with a small slope on the left.

    $$\phi(x) = \max(x, 0) + \mathrm{slope}\cdot\min(x, 0)$$

    Args:
        slope: the slope for negative arguments.

    Returns:
        The activation; the same one for the same slope.

    Example:
        >>> leaky_relu(0.5).phi(jnp.array([-2.0, 3.0])).tolist()
        [-1.0, 3.0]

    Source: paper, S12–S15; Cho and Saul (2009). Oracle: quadrature in polar coordinates (`tests/test_activations.py`).
    """
    return _abrelu(f"leaky_relu({slope:g})", 1.0, -float(slope))


def _sign_dual(cov: Array, var1: Array, var2: Array) -> Array:
    defined = (var1 > 0) & (var2 > 0)  # the sign of a variable without variance is 0
    return jnp.where(defined, 1 - (2 / math.pi) * _angle_between(cov, var1, var2)[0], jnp.zeros_like(cov))


def _sign_near(gap: Array, var1: Array, var2: Array) -> tuple[Array, Array]:
    middle = ((var1 > 0).astype(gap.dtype) + (var2 > 0).astype(gap.dtype)) / 2
    angle = angle_of_versine(_versine(gap, var1, var2))[0]
    return jnp.where(middle == 1, (2 / math.pi) * angle, middle), jnp.zeros_like(angle)


def _blurred(cov: Array, var1: Array, var2: Array, factor: int) -> tuple[Array, Array]:
    r"""For $I + \mathrm{factor}\cdot\Sigma$: the correlation, and one over the root of the determinant.

    The determinant is a sum of positive terms; that of $\Sigma$ is taken from differences of neighbouring numbers.
    """
    rho = factor * cov * (jax.lax.rsqrt(1 + factor * var1) * jax.lax.rsqrt(1 + factor * var2))
    det = ((var1 - cov) * (var2 + cov) + (var2 - cov) * (var1 + cov)) / 2
    det = 1 + factor * (var1 + var2) + factor**2 * det
    return rho, jax.lax.rsqrt(jnp.where(det < 1, jnp.ones_like(det), det))


def _erf_dual(cov: Array, var1: Array, var2: Array) -> Array:
    return (2 / math.pi) * arcsin(_blurred(cov, var1, var2, 2)[0])


def _erf_dual_dot(cov: Array, var1: Array, var2: Array) -> Array:
    return (4 / math.pi) * _gaussian_dual(cov, var1, var2)


def _gaussian_dual(cov: Array, var1: Array, var2: Array) -> Array:
    return _blurred(cov, var1, var2, 2)[1]


def _gaussian_dual_dot(cov: Array, var1: Array, var2: Array) -> Array:
    return 4 * cov * _gaussian_dual(cov, var1, var2) ** 3


def _gelu_dual(cov: Array, var1: Array, var2: Array) -> Array:
    rho, r = _blurred(cov, var1, var2, 1)
    tail = (cov**2 * r + var1 * var2 / r) / ((1 + var1) * (1 + var2))
    return cov / 4 + (cov * arcsin(rho) + tail) / (2 * math.pi)


def _gelu_dual_dot(cov: Array, var1: Array, var2: Array) -> Array:
    rho, r = _blurred(cov, var1, var2, 1)
    tail = cov * r * (r**2 + (1 - var1 * var2) / ((1 + var1) * (1 + var2)) + 1)
    return 0.25 + (arcsin(rho) + tail) / (2 * math.pi)


def _sin_dual(cov: Array, var1: Array, var2: Array) -> Array:
    middle = (var1 + var2) / 2  # no exponent is positive: nothing overflows
    return (jnp.expm1(cov - middle) - jnp.expm1(-cov - middle)) / 2


def _cos_dual(cov: Array, var1: Array, var2: Array) -> Array:
    middle = (var1 + var2) / 2
    return (jnp.exp(cov - middle) + jnp.exp(-cov - middle)) / 2


def _exp_dual(cov: Array, var1: Array, var2: Array) -> Array:
    return jnp.exp((var1 + var2) / 2 + cov)


def from_function(name: str, phi: Phi, nodes: int = 128) -> Activation:
    r"""Any function, its dual maps by Gauss–Hermite quadrature.

    $$\mathcal{T} = \sum_{k < \mathrm{nodes}} a_k(\Sigma_{11})\,a_k(\Sigma_{22})\,\rho^k, \qquad
      a_k(v) = \mathbb{E}[\phi(\sqrt v\,z)\,h_k(z)],$$

    and $\dot{\mathcal{T}}$ likewise from $\phi'$. The error falls exponentially in the root of `nodes` where $\phi$ is
    analytic, the faster the smaller the variance: what counts is how far from the real line, in standard deviations,
    its nearest singularity lies. Across a kink it falls as 1/nodes only: use a closed form.
    `quadrature_error` says what it is.

    Args:
        name: the name it is printed by.
        phi: $\phi$, a differentiable function of JAX, applied to every entry of an array.
        nodes: number of quadrature nodes, and of terms.

    Returns:
        The activation. Each call makes a new one: keep it, or networks with it count as different and compile again.

    Raises:
        ValueError: if `nodes` is not in 1 … 512.

    Example:
        >>> swish = from_function("swish", lambda x: x * jax.nn.sigmoid(x))
        >>> one = jnp.asarray(1.0)
        >>> bool(jnp.isclose(swish.square(one), silu.square(one)))
        True

    Source: our own; Mehler (1866). Oracle: quadrature in two dimensions (`tests/test_activations.py`), and closed forms
    (`tests/test_hermite.py`).
    """
    if not 1 <= nodes <= 512:
        raise ValueError(f"from_function: nodes must be in 1 … 512, but came as {nodes}; 128 suits most functions.")
    return Activation(name, phi, partial(mehler, phi, nodes), partial(mehler, derivative(phi), nodes))


@cache
def _polynomial(coefficients: tuple[float, ...]) -> Activation:
    def phi(x: Array) -> Array:
        return jnp.polyval(jnp.asarray(coefficients[::-1], x.dtype), x)

    return from_function(f"polynomial({', '.join(f'{c:g}' for c in coefficients)})", phi, nodes=len(coefficients))


def polynomial(coefficients: Sequence[float]) -> Activation:
    r"""A polynomial; its dual maps are polynomials too, and exact.

    $$\phi(x) = \sum_i c_i\,x^i$$

    Args:
        coefficients: $c_0, c_1, \dots$, the constant first.

    Returns:
        The activation; the same one for the same coefficients.

    Raises:
        ValueError: if there are no coefficients, or one is not finite.

    Example:
        >>> square = polynomial([0.0, 0.0, 1.0])
        >>> bool(jnp.isclose(square.square(jnp.asarray(1.0)), 3.0))
        True

    Source: our own; Mehler (1866). Oracle: quadrature in two dimensions (`tests/test_activations.py`).
    """
    values = tuple(float(c) for c in coefficients)
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(
            f"polynomial: coefficients must be at least one finite number, but came as {list(coefficients)}; "
            "give c₀, c₁, …, the constant first."
        )
    return _polynomial(values)


relu = replace(_abrelu("relu", 1.0, 0.0), phi=jax.nn.relu)
r"""$\phi(x) = \max(x, 0)$; its dual maps are S12–S15 of the paper."""

absolute = _abrelu("absolute", 1.0, 1.0)
r"""$\phi(x) = |x|$."""

sign = Activation("sign", jnp.sign, _sign_dual, lambda cov, var1, var2: jnp.zeros_like(cov), _sign_near)
r"""$\phi(x) = \operatorname{sign}(x)$. Gradient descent sees a derivative of 0, and so does
$\dot{\mathcal{T}}$ here: the one exception to Price's theorem, whose derivative is that of a jump."""

erf = Activation("erf", jax.scipy.special.erf, _erf_dual, _erf_dual_dot)
r"""$\phi(x) = \operatorname{erf}(x)$; its dual maps are S16 and S17 of the paper. Smooth, as the theorems assume."""

gelu = Activation("gelu", partial(jax.nn.gelu, approximate=False), _gelu_dual, _gelu_dual_dot)
r"""$\phi(x) = x\,\Phi(x)$ with $\Phi$ the normal distribution function, not its approximation by tanh."""

gaussian = Activation("gaussian", lambda x: jnp.exp(-(x**2)), _gaussian_dual, _gaussian_dual_dot)
r"""$\phi(x) = e^{-x^2}$."""

sin = Activation("sin", jnp.sin, _sin_dual, _cos_dual)
r"""$\phi(x) = \sin x$."""

cos = Activation("cos", jnp.cos, _cos_dual, _sin_dual)
r"""$\phi(x) = \cos x$."""

exp = Activation("exp", jnp.exp, _exp_dual, _exp_dual)
r"""$\phi(x) = e^x$. Its kernels overflow early: $\mathbb{E}[\phi^2] = e^{2v}$ at variance $v$."""

identity = Activation(
    "identity",
    phi=lambda x: x,
    dual=lambda cov, var1, var2: cov,
    dual_dot=lambda cov, var1, var2: jnp.ones_like(cov),
    near=lambda gap, var1, var2: (gap, jnp.ones_like(gap)),
    second_moment=lambda var: var,
)
r"""$\phi(x) = x$: a deep linear network."""

tanh = from_function("tanh", jnp.tanh)
r"""$\phi(x) = \tanh x$, by quadrature."""

silu = from_function("silu", jax.nn.silu)
r"""$\phi(x) = x / (1 + e^{-x})$, by quadrature."""

softplus = from_function("softplus", jax.nn.softplus)
r"""$\phi(x) = \log(1 + e^x)$, by quadrature."""
