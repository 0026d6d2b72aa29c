r"""Inverse trigonometric functions as polynomials: the costliest step of a kernel made cheap.

On a CPU `arctan2` takes an order of magnitude more time than the polynomial that stands for it here, because it is
not vectorized. All of it rests on one function, which is analytic for $t < 1$,

$$A(t) = \frac{\arcsin\sqrt t}{\sqrt t}, \qquad 0 \le t \le \tfrac12,$$

whose Taylor series is economized: written in Chebyshev polynomials of that interval, and cut where the rounding of the
dtype hides the rest. The coefficients are computed here, not typed.
"""

import math
from functools import cache

import jax.numpy as jnp
from jaxtyping import Array, Float
from numpy.polynomial import Chebyshev, Polynomial

_DEGREES = {32: 7, 64: 18}  # by bits: the least whose error, which falls as 5.8^-degree, is a fifth of a rounding


@cache
def _coefficients(degree: int) -> tuple[float, ...]:
    """The polynomial for A, lowest power first."""
    taylor = Polynomial([math.comb(2 * k, k) / 4**k / (2 * k + 1) for k in range(64)])
    series = taylor.convert(kind=Chebyshev, domain=[0, 0.5]).truncate(degree + 1)
    return tuple(map(float, series.convert(kind=Polynomial).coef))


def _series(t: Float[Array, "*pairs"]) -> tuple[float, ...]:
    return _coefficients(_DEGREES[max(32, jnp.finfo(t.dtype).bits)])


def _horner(coefficients: tuple[float, ...], t: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    total = jnp.full_like(t, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * t + coefficient
    return total


def safe_sqrt(x: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    r"""A square root that is 0, and has derivative 0, wherever its argument is not positive.

    $$\sqrt{\max(x, 0)}$$

    The inner `where` keeps the infinite derivative at 0 out of gradients, where it would meet a 0 and make NaN.

    Args:
        x: numbers of any sign.

    Returns:
        The roots, in the shape and dtype of `x`.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> jax.grad(safe_sqrt)(jnp.asarray(0.0)).item()
        0.0

    Source: our own. Oracle: NumPy (`tests/test_angles.py`).
    """
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, jnp.ones_like(x))), jnp.zeros_like(x))


def inverse(x: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    r"""One over a standard deviation, and 0 for a variable that has none: it is constant, and has no direction.

    $$1/x \quad (x > 0), \qquad 0 \quad (x \le 0)$$

    Args:
        x: standard deviations.

    Returns:
        Their inverses, in the shape and dtype of `x`; derivatives are finite.

    Example:
        >>> import jax.numpy as jnp
        >>> inverse(jnp.array([2.0, 0.0])).tolist()
        [0.5, 0.0]

    Source: our own. Oracle: NumPy (`tests/test_angles.py`).
    """
    positive = x > 0
    return jnp.where(positive, 1 / jnp.where(positive, x, jnp.ones_like(x)), jnp.zeros_like(x))


def arcsin(x: Float[Array, "*pairs"]) -> Float[Array, "*pairs"]:
    r"""The inverse of the sine.

    $$\arcsin x = x\,A(x^2) \quad\text{or}\quad
      \operatorname{sign}(x)\Big(\frac\pi2 - \sqrt{1 - x^2}\,A(1 - x^2)\Big) \quad\text{where } x^2 > \tfrac12.$$

    Args:
        x: numbers in [−1, 1]; beyond, as rounding may bring them, they count as ±1.

    Returns:
        Angles in [−π/2, π/2], in the shape and dtype of `x`; derivatives are finite, also at ±1.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(jnp.isclose(arcsin(jnp.asarray(0.5)), jnp.pi / 6))
        True

    Source: our own. Oracle: NumPy in twice the precision (`tests/test_angles.py`).
    """
    inner = x * x <= 0.5
    t = jnp.where(inner, x * x, (1 - x) * (1 + x))
    value = jnp.where(inner, x, safe_sqrt(t)) * _horner(_series(t), t)
    return jnp.where(inner, value, jnp.sign(x) * (jnp.pi / 2 - value))


def angle_of_versine(versine: Float[Array, "*pairs"]) -> tuple[Float[Array, "*pairs"], Float[Array, "*pairs"]]:
    r"""The angle with a given $1 - \cos\theta$, and what the ReLU family needs of it, each without cancellation.

    With $t = \sin^2(\theta/2)$, half the versine,

    $$\theta = 2\sqrt t\,A(t), \qquad \frac{d}{dt}(\sin\theta - \theta\cos\theta) = 2\theta,$$

    so the polynomial of the second is that of the first, integrated term by term, and their derivatives agree to
    rounding. Obtuse angles use their supplement.

    Args:
        versine: $1 - \cos\theta$, in [0, 2]; beyond, as rounding may bring it, the angle is 0 or π.

    Returns:
        $\theta$ in [0, π], and $\sin\theta - \theta\cos\theta$ in [0, π].

    Example:
        >>> import jax.numpy as jnp
        >>> angle, excess = angle_of_versine(jnp.asarray(1.0))
        >>> bool(jnp.isclose(angle, jnp.pi / 2)), bool(jnp.isclose(excess, 1.0))
        (True, True)

    Source: paper, S12–S15. Oracle: NumPy in twice the precision (`tests/test_angles.py`).
    """
    obtuse = versine > 1
    t = jnp.where(obtuse, 2 - versine, versine) / 2
    root, series = safe_sqrt(t), _series(t)
    angle = 2 * root * _horner(series, t)
    integral = tuple(8 * a / (2 * k + 3) for k, a in enumerate(series))
    excess = root * t * _horner(integral, t)
    return jnp.where(obtuse, jnp.pi - angle, angle), jnp.where(obtuse, excess + jnp.pi * (versine - 1), excess)
