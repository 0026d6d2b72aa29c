r"""Training a linear model on any loss: an equation for its dual coefficients, in time or in steps.

Squared loss has the closed forms of `widelinear.dynamics`; it is how this is checked. For other losses, cross-entropy
first, steps are taken one by one, and flows are integrated with diffrax, the optional dependency `widelinear[flows]`.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num

from widelinear.loop import Loss
from widelinear.rules import FLOW, Flow, GradientDescent, HeavyBall, HeavyBallFlow, Rule, Time, check_times

State = tuple[Array, ...]


def dual_flow(
    loss: Loss,
    ntk: Float[Array, "n1 n2"],
    f0: Float[Array, "r k"],
    y: Float[Array, "s l"],
    time: Time,
    rule: Rule = FLOW,
    *,
    tolerance: float | None = None,
    max_steps: int = 2**17,
) -> Float[Array, "*t r k"]:
    r"""The dual coefficients of a linear model while gradient flow or gradient descent trains it on any loss.

    $$\dot c_t = -\nabla_f\,\ell(f_t, y), \qquad f_t = f_0(X) + \Theta\,c_t, \qquad c_0 = 0,$$

    and with heavy-ball momentum $\ddot c_t = -\gamma\,\dot c_t - \nabla_f\,\ell(f_t, y)$ from rest. In steps,
    $c_{i+1} = c_i - \eta\,\nabla_f\,\ell(f_i, y) + \beta\,(c_i - c_{i-1})$, exactly.
    As with `dual_coefficients`, outputs at any inputs are $f_0(x) + \Theta(x, X)\,c_t$, and weights
    `weight_change(apply, params0, x, c_t)`: one integration serves them all.

    Time and learning rate are those of the loss as it is given: with `mse_loss` or `cross_entropy_loss`, means both,
    time is the learning rate × steps of `train`, and nothing is converted.

    Args:
        loss: `loss(outputs, y)`, differentiable in the outputs.
        ntk: $\Theta(X, X)$ on the n training inputs; a finite network with several outputs needs `flatten_outputs`,
            and a loss that takes its outputs as a column.
        f0: $f_0(X)$, the initial outputs, shape (n, k).
        y: training targets, as the loss takes them, with n rows.
        time: one time (for a discrete rule, a number of steps) or an array of them, finite, in any order.
        rule: how it is trained, with the learning rate of the same loss.
        tolerance: for a flow, relative and absolute error of a step of the solver, on the coefficients; by default 1e-9
            in float64 and 1e-5 in float32. Outputs carry a small multiple of $\lambda_{\max}$ times it.
        max_steps: for a flow, how many steps the solver (Tsit5, explicit) may take: about $\lambda_{\max} t / 3$ are
            needed late.

    Returns:
        $c_t$, shape (n, k), with the axes of `time` in front. Derivatives of steps are forward only.

    Raises:
        ModuleNotFoundError: if the rule is a flow and diffrax is not installed.
        TypeError: if the rule is none of the library's.
        ValueError: if shapes disagree, or a time is negative, infinite, NaN or half a step.
        RuntimeError: if the solver needs more than `max_steps` (inside `jit` later times are infinite instead).

    Example:
        >>> import jax.numpy as jnp, widelinear as wl
        >>> ntk, labels = jnp.array([[2.0, 0.5], [0.5, 1.0]]), jnp.eye(2)
        >>> c = wl.dual_flow(wl.cross_entropy_loss, ntk, jnp.zeros((2, 2)), labels, time=jnp.array([0.0, 50.0]))
        >>> outputs = ntk @ c
        >>> bool(wl.cross_entropy_loss(outputs[1], labels) < 0.2 * wl.cross_entropy_loss(outputs[0], labels))
        True

    Source: paper, S1–S4, S10 and S11. Oracle: the closed form of squared loss, frozen neural-tangents numbers, and
    `train` on the linearized network (`tests/test_flows.py`).
    """
    _check_arguments(ntk, f0, y, rule)
    times = jnp.asarray(time)
    _check_finite(times)
    check_times(times, rule.steps_only)
    if rule.steps_only:
        flat = _iterate(loss, ntk, f0, y, times.reshape(-1).astype(int), rule)
    else:
        tolerance = tolerance or (1e-9 if f0.dtype == jnp.float64 else 1e-5)
        flat, taken = _integrate(loss, ntk, f0, y, times.reshape(-1).astype(f0.dtype), rule, tolerance, max_steps)
        _check_steps(taken, max_steps)
    return flat.reshape(*times.shape, *f0.shape)


@partial(jax.jit, static_argnames="loss")
def _iterate(loss: Loss, ntk: Array, f0: Array, y: Array, steps: Int[Array, " t"], rule: Rule) -> Float[Array, "t n k"]:
    """The coefficients after every number of steps."""
    learning_rate, momentum = (
        jnp.asarray(getattr(rule, name, 0.0)).astype(f0.dtype) for name in ("learning_rate", "momentum")
    )

    def step(_: Int[Array, ""], state: State) -> State:
        c, change = state
        change = momentum * change - learning_rate * jax.grad(loss)(f0 + ntk @ c, y)
        return c + change, change

    def to_next(state: State, count: Int[Array, ""]) -> tuple[State, Array]:
        state = jax.lax.fori_loop(0, count, step, state)
        return state, state[0]

    order = jnp.argsort(steps)
    counts = jnp.diff(steps[order], prepend=0)
    still: State = (jnp.zeros_like(f0),) * 2
    return jax.lax.scan(to_next, still, counts)[1][jnp.argsort(order)]


@partial(jax.jit, static_argnames=("loss", "max_steps"))
def _integrate(
    loss: Loss, ntk: Array, f0: Array, y: Array, times: Float[Array, " t"], rule: Rule, tolerance: Any, max_steps: int
) -> tuple[Float[Array, "t n k"], Int[Array, ""]]:
    """The coefficients at every time, and how many steps that took."""
    diffrax = _diffrax()
    start = (jnp.zeros_like(f0),) * (1 if isinstance(rule, Flow) else 2)
    order = jnp.argsort(times)
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(_velocity(loss, rule)),
        diffrax.Tsit5(),
        t0=jnp.zeros_like(times[0]),
        t1=times[order[-1]],
        dt0=None,
        y0=start,
        args=(ntk, f0, y),
        saveat=diffrax.SaveAt(ts=times[order]),
        stepsize_controller=diffrax.PIDController(rtol=tolerance, atol=tolerance),
        max_steps=max_steps,
        throw=False,
    )
    return solution.ys[0][jnp.argsort(order)], solution.stats["num_steps"]


def _velocity(loss: Loss, rule: Rule) -> Callable[[Array, State, tuple[Array, Array, Array]], State]:
    """The right-hand side for the state (c, ċ); without momentum the state is c alone."""

    def velocity(_: Array, state: State, problem: tuple[Array, Array, Array]) -> State:
        ntk, f0, y = problem
        force = -jax.grad(loss)(f0 + ntk @ state[0], y)
        if isinstance(rule, HeavyBallFlow):
            return state[1], force - rule.damping.astype(force.dtype) * state[1]
        return (force,)

    return velocity


def _diffrax() -> Any:
    """diffrax, or one sentence on how to get it."""
    try:
        return importlib.import_module("diffrax")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "dual_flow needs diffrax, which is not installed; do pip install 'widelinear[flows]' "
            "(on Colab: pip install diffrax 'lineax<0.1.1', which keeps its JAX)."
        ) from error


def _check_arguments(ntk: Array, f0: Array, y: Array, rule: object) -> None:
    if not isinstance(rule, Flow | HeavyBallFlow | GradientDescent | HeavyBall):
        raise TypeError(
            f"rule: expected one of Flow, HeavyBallFlow, GradientDescent and HeavyBall, but came {rule}; other rules "
            "are known by what they do to squared loss only."
        )
    n = len(f0)
    if f0.ndim != 2 or ntk.shape != (n, n) or len(y) != n:
        raise ValueError(
            f"ntk, f0, y: expected shapes (n, n), (n, k) and n rows, but came {ntk.shape}, {f0.shape} and {y.shape}; "
            "all three belong to the training inputs."
        )
    known = [array for array in (ntk, f0, y) if not isinstance(array, jax.core.Tracer)]
    if not all(np.isfinite(array).all() for array in known):
        raise ValueError("ntk, f0, y: expected finite numbers, but came NaN or infinity; check the inputs.")


def _check_finite(times: Num[Array, "*t"]) -> None:
    if isinstance(times, jax.core.Tracer):
        return
    known = np.asarray(times)
    if not ((known >= 0) & np.isfinite(known)).all():
        raise ValueError(
            f"time: expected finite times from 0 on, but came {known.ravel()[:5]}; "
            "an ODE has no closed form at infinity, and cross-entropy no end."
        )


def _check_steps(steps: Int[Array, ""], max_steps: int) -> None:
    if not isinstance(steps, jax.core.Tracer) and int(steps) >= max_steps:
        raise RuntimeError(
            f"dual_flow: {max_steps} steps of the solver did not reach the last time; train for a shorter time, or "
            "raise max_steps or tolerance."
        )
