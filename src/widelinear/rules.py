r"""Training rules, each known by what it does to one mode of the tangent kernel.

With squared loss the residual along an eigenvector of $\Theta$ with eigenvalue $\lambda$, its *rate*, shrinks by a
factor that knows no other mode. So a rule is two scalar functions of rate and time:

$$\rho(\lambda, t), \text{ what remains of the residual}, \qquad
  g(\lambda, t) = \frac{1 - \rho(\lambda, t)}{\lambda}, \text{ its spectral filter.}$$

Flows count time. Discrete rules count steps, and are exact at any learning rate, stable or not.
Rules are pytrees: learning rate and momentum may be traced, differentiated and vmapped.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int, Num

Rates = Float[Array, "..."]
Times = Num[Array, "..."]
Setting = Float[Array, ""] | float
Time = Num[Array | np.ndarray, "*t"] | float | int


class Rule(ABC):
    r"""A way to train on the summed squared loss.

    A subclass gives $g$ and $\rho$ at finite times, says at which rates it converges, and whether it counts steps.

    Example:
        >>> import widelinear as wl
        >>> isinstance(wl.GradientDescent(0.1), Rule)
        True

    Source: paper, eqs 8–11 and S1–S4, mode by mode.
    Oracle: a loop over steps, and an ODE solver (`tests/test_rules.py`).
    """

    def spectral_filter(self, rate: Rates, time: Times) -> Rates:
        r"""What is learnt of a residual 1, over the rate; without cancellation where little is learnt.

        $$g(\lambda, t) = \frac{1 - \rho(\lambda, t)}{\lambda}, \qquad g(0, t) = \lim_{\lambda\to 0} g(\lambda, t).$$

        A mode of rate 0 changes no output, whatever its coefficient. At $t = \infty$ it gets 0: the pseudo-inverse.

        Args:
            rate: $\lambda$, not negative.
            time: $t$, or a number of steps, of a shape that broadcasts with that of `rate`; `jnp.inf` is the limit.

        Returns:
            $g$ for every pair of a rate and a time; NaN at infinity where training does not converge.

        Example:
            >>> import jax.numpy as jnp, widelinear as wl
            >>> wl.Flow().spectral_filter(jnp.array([0.0, 2.0]), jnp.array([jnp.inf])).tolist()
            [0.0, 0.5]

        Source: paper, eq. 8. Oracle: a loop over steps, and an ODE solver (`tests/test_rules.py`).
        """
        check_times(time, self.steps_only)
        return _filter(self, rate, time)

    def remaining(self, rate: Rates, time: Times) -> Rates:
        r"""What remains of a residual 1; without cancellation where little remains.

        $$\rho(\lambda, t) = 1 - \lambda\,g(\lambda, t).$$

        Args:
            rate: $\lambda$, not negative.
            time: $t$, or a number of steps, of a shape that broadcasts with that of `rate`; `jnp.inf` is the limit.

        Returns:
            $\rho$ for every pair of a rate and a time; NaN at infinity where training does not converge.

        Example:
            >>> import jax.numpy as jnp, widelinear as wl
            >>> wl.GradientDescent(0.5).remaining(jnp.array([4.0]), jnp.array([3])).tolist()
            [-1.0]

        Source: paper, eq. 9. Oracle: a loop over steps, and an ODE solver (`tests/test_rules.py`).
        """
        check_times(time, self.steps_only)
        return _remaining(self, rate, time)

    steps_only: ClassVar[bool] = False

    # Not `register_dataclass`: JAX takes two dataclasses with as many fields for one structure, so that a compiled
    # function may answer for a rule with what it compiled for another.
    def tree_flatten(self) -> tuple[tuple[Setting, ...], None]:
        """Compiled functions take the settings as arguments."""
        return tuple(vars(self).values()), None

    @classmethod
    def tree_unflatten(cls, _: None, settings: Iterable[Setting]) -> "Rule":
        """The inverse of `tree_flatten`."""
        return cls(*settings)

    @abstractmethod
    def _filter(self, rate: Rates, time: Times) -> Rates: ...

    @abstractmethod
    def _remaining(self, rate: Rates, time: Times) -> Rates: ...

    @abstractmethod
    def _converges(self, rate: Rates) -> Bool[Array, "..."]: ...


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class Flow(Rule):
    r"""Gradient flow: gradient descent in the limit of small steps. Time is learning rate × steps.

    $$\dot f = -\Theta\,(f - y): \qquad \rho(\lambda, t) = e^{-\lambda t}.$$

    Example:
        >>> import jax.numpy as jnp
        >>> round(float(Flow().remaining(jnp.array(2.0), jnp.array(0.5))), 6)
        0.367879

    Source: paper, eqs 8–11. Oracle: the matrix exponential (`tests/test_dynamics.py`).
    """

    def _filter(self, rate: Rates, time: Times) -> Rates:
        return _flow_filter(rate, time)

    def _remaining(self, rate: Rates, time: Times) -> Rates:
        return jnp.exp(-rate * time.astype(rate.dtype))

    def _converges(self, rate: Rates) -> Bool[Array, "..."]:
        return rate >= 0


FLOW = Flow()


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class GradientDescent(Rule):
    r"""Gradient descent, step by step. Time is the number $i$ of steps.

    $$\rho(\lambda, i) = (1 - \eta\lambda)^i.$$

    It agrees with `Flow` at time $\eta i$ up to $O(\eta)$.

    Args:
        learning_rate: $\eta$ for the summed loss.

    Raises:
        ValueError: if the learning rate is not positive.

    Example:
        >>> import jax.numpy as jnp
        >>> float(GradientDescent(0.25).remaining(jnp.array(2.0), jnp.array(2)))
        0.25

    Source: paper, §2.1 with errata E1. Oracle: a loop over steps (`tests/test_rules.py`).
    """

    learning_rate: Setting
    steps_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_learning_rate(self.learning_rate)

    def _filter(self, rate: Rates, time: Times) -> Rates:
        gentle, log, power = self._powers(rate, time)
        learnt = jnp.where(gentle, -jnp.expm1(log), 1 - power)
        positive, steps = rate > 0, time.astype(rate.dtype)
        return jnp.where(positive, learnt / jnp.where(positive, rate, 1), _like(self.learning_rate, rate) * steps)

    def _remaining(self, rate: Rates, time: Times) -> Rates:
        gentle, log, power = self._powers(rate, time)
        return jnp.where(gentle, jnp.exp(log), power)

    def _powers(self, rate: Rates, time: Times) -> tuple[Bool[Array, "..."], Rates, Rates]:
        """Whether ηλ < 1; the logarithm of (1 − ηλ)^i where it is; and the power itself, of any sign."""
        steps, progress = time.astype(rate.dtype), _like(self.learning_rate, rate) * rate
        gentle = progress < 1
        return gentle, steps * jnp.log1p(-jnp.where(gentle, progress, 0)), (1 - progress) ** steps

    def _converges(self, rate: Rates) -> Bool[Array, "..."]:
        return _like(self.learning_rate, rate) * rate < 2


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class HeavyBallFlow(Rule):
    r"""Heavy-ball momentum in the limit of small steps. Time is steps × the square root of the learning rate.

    $$\ddot f = -\gamma\dot f - \Theta\,(f - y), \quad \gamma = \frac{1 - \beta}{\sqrt\eta}: \qquad
      \rho(\lambda, t) = \frac{b\,e^{-at} - a\,e^{-bt}}{b - a}, \quad a, b = \frac{\gamma}{2} \mp
      \sqrt{\frac{\gamma^2}{4} - \lambda}.$$

    The learning rate enters through the damping $\gamma$ and the unit of time, nowhere else.

    Args:
        learning_rate: $\eta$ for the summed loss.
        momentum: $\beta$, at least 0 and below 1.

    Raises:
        ValueError: if the learning rate is not positive, or the momentum is outside $[0, 1)$.

    Example:
        Weakly damped modes oscillate:

        >>> import jax.numpy as jnp
        >>> rule = HeavyBallFlow(learning_rate=0.01, momentum=0.98)
        >>> bool(rule.remaining(jnp.array(4.0), jnp.array(jnp.pi / 2)) < 0)
        True

    Source: paper, S3–S4 with errata E10. Oracle: an ODE solver (`tests/test_rules.py`).
    """

    learning_rate: Setting
    momentum: Setting

    def __post_init__(self) -> None:
        _check_learning_rate(self.learning_rate)
        _check_momentum(self.momentum)

    @property
    def damping(self) -> Float[Array, ""]:
        r"""$\gamma = (1 - \beta)/\sqrt\eta$, minus the paper's $\tilde\beta$."""
        return (1 - jnp.asarray(self.momentum)) / jnp.sqrt(jnp.asarray(self.learning_rate))

    def _filter(self, rate: Rates, time: Times) -> Rates:
        time, damping = time.astype(rate.dtype), _like(self.damping, rate)
        slow, fast, gap = self._roots(rate)
        later = jnp.exp(-slow * time.astype(slow.dtype)) * _flow_filter(gap, time)
        late = jnp.real((_flow_filter(slow, time) - later) / fast)
        # Early the two terms cancel, and the series converges at once.
        early = jnp.maximum(damping, jnp.sqrt(rate)) * time < 0.5
        young = jnp.where(early, time, 0)
        return jnp.where(early, young**2 * _early(damping * young, rate * young**2), late)

    def _remaining(self, rate: Rates, time: Times) -> Rates:
        time = time.astype(rate.dtype)
        slow, _, gap = self._roots(rate)
        return jnp.real(jnp.exp(-slow * time.astype(slow.dtype)) * (1 + slow * _flow_filter(gap, time)))

    def _roots(self, rate: Rates) -> tuple[Complex[Array, "..."], Complex[Array, "..."], Complex[Array, "..."]]:
        """a, b and b − a; the double root of critical damping is parted by a rounding error, to be differentiable."""
        half = _like(self.damping, rate) / 2
        parted = jnp.finfo(rate.dtype).eps * half**2
        square = half**2 - rate
        square = square + jnp.where(jnp.abs(square) < parted, parted, 0)
        root = jnp.sqrt(jax.lax.complex(square, jnp.zeros_like(square)))
        fast = root + half.astype(root.dtype)
        return rate.astype(root.dtype) / fast, fast, 2 * root

    def _converges(self, rate: Rates) -> Bool[Array, "..."]:
        return rate >= 0


@jax.tree_util.register_pytree_node_class
@dataclass(frozen=True)
class HeavyBall(Rule):
    r"""Gradient descent with heavy-ball momentum, step by step. Time is the number $i$ of steps.

    $$f_{i+1} = f_i - \eta\,\Theta\,(f_i - y) + \beta\,(f_i - f_{i-1}), \qquad f_{-1} = f_0.$$

    One step is an affine map of the state $(f_i, f_i - f_{i-1})$. Applied to itself it is two steps, then four: any
    number of steps takes its logarithm of products, at critical damping, with complex roots, or where it diverges.

    Args:
        learning_rate: $\eta$ for the summed loss.
        momentum: $\beta$, at least 0 and below 1.

    Raises:
        ValueError: if the learning rate is not positive, or the momentum is outside $[0, 1)$.

    Example:
        Without momentum it is gradient descent:

        >>> import jax.numpy as jnp
        >>> float(HeavyBall(learning_rate=0.25, momentum=0.0).remaining(jnp.array(2.0), jnp.array(2)))
        0.25

    Source: paper, S1–S2. Oracle: a loop over steps (`tests/test_rules.py`).
    """

    learning_rate: Setting
    momentum: Setting
    steps_only: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _check_learning_rate(self.learning_rate)
        _check_momentum(self.momentum)

    def _filter(self, rate: Rates, time: Times) -> Rates:
        return self._after(rate, time, start=(0.0, 0.0, 1.0)) * _like(self.learning_rate, rate)

    def _remaining(self, rate: Rates, time: Times) -> Rates:
        return self._after(rate, time, start=(1.0, 0.0, 0.0))

    def _after(self, rate: Rates, time: Times, start: tuple[float, float, float]) -> Rates:
        """The first entry of the state (value, last change, drive) after a number of steps."""
        progress, momentum = _like(self.learning_rate, rate) * rate, _like(self.momentum, rate)
        kept, one, zero = momentum * jnp.ones_like(rate), jnp.ones_like(rate), jnp.zeros_like(rate)
        step = [[1 - progress, kept, one], [-progress, kept, one], [zero, zero, one]]
        steps = jnp.broadcast_to(time.astype(jnp.int32), jnp.broadcast_shapes(time.shape, rate.shape))
        matrix = jnp.stack([jnp.stack(row, axis=-1) for row in step], axis=-2)
        return _power(matrix, jnp.asarray(start, rate.dtype), steps)[..., 0]

    def _converges(self, rate: Rates) -> Bool[Array, "..."]:
        return _like(self.learning_rate, rate) * rate < 2 * (1 + _like(self.momentum, rate))


@jax.jit
def _filter(rule: Rule, rate: Rates, time: Times) -> Rates:
    inverse = jnp.where(rate > 0, 1 / jnp.where(rate > 0, rate, 1), 0)
    return _with_limit(rule, rule._filter, rate, time, inverse)


@jax.jit
def _remaining(rule: Rule, rate: Rates, time: Times) -> Rates:
    return _with_limit(rule, rule._remaining, rate, time, jnp.where(rate > 0, jnp.zeros_like(rate), 1))


def _with_limit(rule: Rule, at: Callable[[Rates, Times], Rates], rate: Rates, time: Times, limit: Rates) -> Rates:
    """`at(rate, time)`, and `limit` at infinity; `at` sees finite times only, and so do its derivatives."""
    finite = jnp.isfinite(time)
    limit = jnp.where(rule._converges(rate), limit, jnp.nan)
    return jnp.where(finite, at(rate, jnp.where(finite, time, 0)), limit)


def _flow_filter(rate: Num[Array, "..."], time: Rates) -> Num[Array, "..."]:
    """(1 − e^{−λt}) / λ; where λt is small by its series, whose derivatives are right down to λ = 0."""
    time = time.astype(rate.dtype)
    small = jnp.abs(rate * time) < 0.5
    exponent, safe = jnp.where(small, rate * time, 0), jnp.where(small, 1, rate)
    series = jnp.zeros_like(exponent)
    for k in range(16, 0, -1):
        series = 1 / math.factorial(k) - exponent * series
    return jnp.where(small, time * series, (1 - jnp.exp(-safe * time)) / safe)


def _early(damping: Rates, rate: Rates) -> Rates:
    """g / t² as a power series: the coefficients of ÿ = 1 − γẏ − λy with y = ẏ = 0, given γt and λt²."""
    before, term = jnp.zeros_like(rate), jnp.full_like(rate, 0.5)
    total = term
    for k in range(1, 16):
        before, term = term, -(damping * (k + 1) * term + rate * before) / ((k + 1) * (k + 2))
        total = total + term
    return total


def _power(matrix: Float[Array, "*m d d"], start: Float[Array, " d"], exponent: Int[Array, "*e"]) -> Rates:
    """`matrix ** exponent @ start` for every exponent, by repeated squaring."""

    def double(bit: Int[Array, ""], carry: tuple[Rates, Rates]) -> tuple[Rates, Rates]:
        power, state = carry
        moved = jnp.einsum("...ij,...j->...i", power, state)
        state = jnp.where(((exponent >> bit) & 1)[..., None] == 1, moved, state)
        # Squaring on past the largest exponent would overflow where training diverges.
        return jnp.where(jnp.max(exponent >> bit) > 1, power @ power, power), state

    states = jnp.broadcast_to(start, (*exponent.shape, len(start)))
    return jax.lax.fori_loop(0, 31, double, (matrix, states))[1]


def _like(setting: Setting, rate: Rates) -> Float[Array, ""]:
    return jnp.asarray(setting).astype(rate.dtype)


def check_times(times: Times, steps_only: bool) -> None:
    """Refuse a time before the start, and half a step.

    Args:
        times: times, or numbers of steps; values are not checked inside `jit`.
        steps_only: whether they are numbers of steps.

    Raises:
        ValueError: if one is negative or NaN, or no whole number where steps are counted.

    Example:
        >>> import jax.numpy as jnp
        >>> check_times(jnp.array([0.0, 0.5, jnp.inf]), steps_only=False)

    Source: house rule. Oracle: bad times are refused (`tests/test_rules.py`).
    """
    if isinstance(times, jax.core.Tracer):
        return
    known = np.asarray(times)  # with JAX's functions it would be traced inside `jit`
    if not (known >= 0).all():  # NaN is refused too
        raise ValueError(f"time: expected times from 0 to infinity, but came {known.ravel()[:5]}.")
    if steps_only and not (known == np.floor(known)).all():
        raise ValueError(
            f"time: expected whole numbers of steps, but came {known.ravel()[:5]}; "
            "a discrete rule counts steps, and a flow counts time."
        )


def _check_learning_rate(learning_rate: Setting) -> None:
    if _known(learning_rate) and not 0 < float(learning_rate) < np.inf:
        raise ValueError(f"learning_rate: expected a positive number, but came {float(learning_rate)}.")


def _check_momentum(momentum: Setting) -> None:
    if _known(momentum) and not 0 <= float(momentum) < 1:
        raise ValueError(
            f"momentum: expected a number of at least 0 and below 1, but came {float(momentum)}; "
            "at 1 nothing is damped, and training never settles."
        )


def _known(setting: object) -> bool:
    """A number, rather than what stands for one while JAX traces, vmaps or rebuilds a pytree."""
    return isinstance(setting, (int, float, np.generic, np.ndarray, jax.Array)) and not (
        isinstance(setting, jax.core.Tracer) or np.ndim(setting)
    )
