"""Training steps as one compiled loop, for several models on the same batches."""

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jax.tree_util import Partial
from jaxtyping import Array, Float, Int

from widelinear.linearize import Apply, Linearized, Params
from widelinear.windows import convolutions_in_a_loop

Loss = Callable[[Float[Array, "n k"], Float[Array, "n k"]], Float[Array, ""]]
Advance = Any  # a compiled function: see `compiled_loop`
_Carry = tuple[dict[str, Params], dict[str, Any]]  # parameters and optimizer states, by the name of the model


def models_on(x: Float[Array, "n ..."], models: dict[str, Apply], batch_size: int | None) -> dict[str, Any]:
    """The models as arguments of the compiled loop: pytrees, so that no array is compiled in.

    Args:
        x: training inputs.
        models: functions `apply(params, x)` by name.
        batch_size: None where every step sees all of `x`: then linearized networks keep their activations.

    Returns:
        Functions of the parameters where there is one batch, else of parameters and inputs.

    Example:
        >>> import jax.numpy as jnp
        >>> on_x = models_on(jnp.ones((2, 1)), {"line": lambda w, x: x @ w}, batch_size=None)
        >>> on_x["line"](jnp.full((1, 1), 3.0)).tolist()
        [[3.0], [3.0]]

    Source: house code. Oracle: both kinds train alike (`tests/test_training.py`).
    """
    if batch_size is not None:
        return {name: model if isinstance(model, Linearized) else Partial(model) for name, model in models.items()}
    return {
        name: _linearized_on(model, x) if isinstance(model, Linearized) else Partial(_swapped, Partial(model), x)
        for name, model in models.items()
    }


def hashable(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function itself; or, where it has no hash, as a dataclass has none, one that calls it and has.

    What is compiled is remembered by the functions that it was compiled from. One without a hash is compiled anew in
    every call.

    Args:
        function: any callable.

    Returns:
        A callable that does the same and can be remembered.

    Example:
        >>> class Line:
        ...     __hash__ = None
        ...     def __call__(self, x):
        ...         return 2 * x
        >>> hashable(abs) is abs, hashable(Line())(3)
        (True, 6)

    Source: house code. Oracle: functions without a hash train (`tests/test_training.py`, `tests/test_members.py`).
    """
    try:
        hash(function)
    except TypeError:
        return lambda *args: function(*args)
    return function


@lru_cache(maxsize=16)
def compiled_loop(
    loss: Loss,
    optimizer: optax.GradientTransformation,
    batch_size: int | None,
    spread: NamedSharding | None = None,
) -> Advance:
    """A function that does any number of training steps without going back to Python.

    The order of the examples in an epoch depends on the key and on the number of the epoch alone, so a run may stop
    after any step and go on. The same loss and the same optimizer get the same function, which is compiled once.

    Args:
        loss: `loss(outputs, y)`.
        optimizer: an optax optimizer; every model has its own state.
        batch_size: examples in a step; None for all.
        spread: how the examples of a batch lie on devices; by default they stay where the inputs are.

    Returns:
        `advance(params, optimizer_states, first, count, models, x, y, key)`, with everything but the numbers `first`
        and `count` of steps by the name of the model; it returns parameters and optimizer states.

    Example:
        >>> import jax.numpy as jnp, optax
        >>> x, optimizer = jnp.ones((1, 1)), optax.sgd(0.5)
        >>> advance = compiled_loop(lambda f, y: jnp.sum((f - y) ** 2) / 2, optimizer, None)
        >>> models, w = models_on(x, {"line": lambda w, x: x @ w}, None), jnp.zeros((1, 1))
        >>> params, _ = advance({"line": w}, {"line": optimizer.init(w)}, 0, 2, models, x, x, None)
        >>> params["line"].item()
        0.75

    Source: paper, §2.1. Oracle: one Python step after the other (`tests/test_training.py`).
    """

    step = partial(_step, loss, optimizer)
    return jax.jit(partial(_on_all, step) if batch_size is None else partial(_in_batches, step, batch_size, spread))


@jax.jit
@convolutions_in_a_loop()
def _linearized_on(model: Linearized, x: Float[Array, "n ..."]) -> Any:
    return model.on_batch(x)


@convolutions_in_a_loop()
def _step(
    loss: Loss, optimizer: optax.GradientTransformation, carry: _Carry, on_batch: dict[str, Any], y: Float[Array, "n k"]
) -> _Carry:
    """One step of every model, each with its own gradient."""
    params, states = dict(carry[0]), dict(carry[1])
    for name, model in on_batch.items():
        gradient = jax.grad(lambda p, model=model: loss(model(p), y))(params[name])
        updates, states[name] = optimizer.update(gradient, states[name], params[name])
        params[name] = optax.apply_updates(params[name], updates)
    return params, states


def _on_all(
    step: Any, params: Any, states: Any, first: Any, count: Any, models: dict[str, Any], x: Array, y: Array, key: None
) -> _Carry:
    return jax.lax.fori_loop(first, first + count, lambda _, carry: step(carry, models, y), (params, states))


def _in_batches(
    step: Any,
    batch_size: int,
    spread: NamedSharding | None,
    params: Any,
    states: Any,
    first: Any,
    count: Any,
    models: dict[str, Any],
    x: Float[Array, "n ..."],
    y: Float[Array, "n k"],
    key: Array,
) -> _Carry:
    per_epoch = len(x) // batch_size

    def order(i: Int[Array, ""]) -> Int[Array, " n"]:
        return jax.random.permutation(jax.random.fold_in(key, i // per_epoch), len(x))

    def body(i: Int[Array, ""], carry: tuple[_Carry, Int[Array, " n"]]) -> tuple[_Carry, Int[Array, " n"]]:
        trained, shuffled = carry
        shuffled = jax.lax.cond(i % per_epoch == 0, order, lambda _: shuffled, i)
        rows = jax.lax.dynamic_slice_in_dim(shuffled, i % per_epoch * batch_size, batch_size)
        if spread is not None:  # each device then takes its rows, and gradients are summed over devices
            rows = jax.lax.with_sharding_constraint(rows, spread)
        on_batch = {name: Partial(_swapped, model, x[rows]) for name, model in models.items()}
        return step(trained, on_batch, y[rows]), shuffled

    first = jnp.asarray(first)
    return jax.lax.fori_loop(first, first + count, body, ((params, states), order(first)))[0]


def _swapped(model: Apply, x: Float[Array, "n ..."], params: Params) -> Float[Array, "n k"]:
    return model(params, x)
