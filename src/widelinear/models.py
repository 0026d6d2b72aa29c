"""What the library asks of a network: `apply(params, x)`, one row of outputs for each example."""

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from widelinear.linearize import Apply, Params, check_floating


def frozen(*arguments: Any) -> tuple[Any, tuple[jax.ShapeDtypeStruct, ...]]:
    """Structure and shapes of arguments: hashable, to remember by what was found out by tracing.

    Args:
        arguments: pytrees of arrays, or of their shapes.

    Returns:
        The structure of all arguments together, and the shape and dtype of every leaf.

    Example:
        >>> import jax.numpy as jnp
        >>> frozen(jnp.ones((2, 3)))[1][0].shape
        (2, 3)

    Source: house code. Oracle: that of `output_shape`.
    """
    leaves, structure = jax.tree.flatten(arguments)
    return structure, tuple(
        jax.ShapeDtypeStruct(leaf.shape, leaf.dtype)
        if isinstance(leaf, jax.Array)  # as nearly always, and much quicker than the general way
        else jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))
        for leaf in leaves
    )


def output_shape(caller: str, apply: Apply, params: Params, x: Any) -> jax.ShapeDtypeStruct:
    """The shape and dtype of a network's outputs, after a check that it can be differentiated; nothing is computed.

    Args:
        caller: the name of the function that asks, for the message.
        apply: the network, `apply(params, x)`.
        params: its parameters: a pytree of floating-point arrays.
        x: inputs, shape (n, ...), or their `jax.ShapeDtypeStruct`.

    Returns:
        Shape (n, k) and dtype.

    Raises:
        TypeError: if `apply` has no hash.
        ValueError: if a parameter is not a floating-point array, if the outputs are not one array of shape (n, k), or
            if `apply` is not the same function when it is traced again.

    Example:
        >>> import jax.numpy as jnp
        >>> output_shape("here", lambda w, x: x @ w, jnp.ones((5, 2)), jnp.ones((3, 5))).shape
        (3, 2)

    Source: house rule. Oracle: bad models are refused (`tests/test_models.py`).
    """
    try:
        hash(apply)
    except TypeError as error:
        raise TypeError(
            f"{caller}: apply must be a function with a hash, by which its compiled programs are found again, but came "
            f"an instance of {type(apply).__name__}, which has none; define a function that calls it, once."
        ) from error
    return _checked(caller, apply, *frozen(params, x))


@lru_cache(maxsize=256)
def _checked(
    caller: str, apply: Apply, structure: Any, shapes: tuple[jax.ShapeDtypeStruct, ...]
) -> jax.ShapeDtypeStruct:
    params, x = jax.tree.unflatten(structure, shapes)
    check_floating(caller, params)
    outputs, pure = _traced_twice(apply, params, x)
    if not pure:
        raise ValueError(
            f"{caller}: apply(params, x) must be a pure function, but it has other constants when it is traced again; "
            "draw random numbers from a jax.random key, and keep counters, earlier values and other state out of it."
        )
    if not isinstance(outputs, jax.ShapeDtypeStruct) or outputs.ndim != 2 or outputs.shape[0] != x.shape[0]:
        came = jax.tree.map(lambda leaf: leaf.shape, outputs)
        raise ValueError(
            f"{caller}: apply(params, x) must return one array of shape (n, k), a row of k outputs for each of the "
            f"n = {x.shape[0]} examples, but came {came}; return the outputs alone, flattened to two axes."
        )
    return outputs


def _traced_twice(apply: Apply, params: Params, x: jax.ShapeDtypeStruct) -> tuple[Any, bool]:
    """The shapes of the outputs; and whether all constants stay as they are: no counter, no random numbers by NumPy."""
    # A function of its own for each trace, or JAX would remember the first.
    (one, outputs), (two, _) = (
        jax.make_jaxpr(lambda p, x: apply(p, x), return_shape=True)(params, x) for _ in range(2)
    )
    first, second = list(_constants(one)), list(_constants(two))
    return outputs, len(first) == len(second) and all(map(_same, first, second))


def _constants(program: Any) -> Iterator[Any]:
    """All numbers that a traced program holds, in order, also in the programs that it calls."""
    if isinstance(program, ClosedJaxpr):
        yield from program.consts
        program = program.jaxpr
    for eqn in program.eqns:
        yield from (atom.val for atom in eqn.invars if isinstance(atom, Literal))
        inside = (sub for value in eqn.params.values() for sub in (value if isinstance(value, tuple) else (value,)))
        for sub in inside:
            if isinstance(sub, ClosedJaxpr | Jaxpr):
                yield from _constants(sub)


def _same(one: Any, two: Any) -> bool:
    """Whether two constants have the same bits, where these can be read."""
    if one is two or not (_readable(one) and _readable(two)):
        return True
    return np.asarray(one).tobytes() == np.asarray(two).tobytes()


def _readable(constant: Any) -> bool:
    """Whether a constant is a number or an array of numbers: a tracer has none yet, and a random key hides its own."""
    if isinstance(constant, jax.core.Tracer):
        return False
    return isinstance(constant, int | float) or (
        hasattr(constant, "dtype") and not jnp.issubdtype(constant.dtype, jax.dtypes.prng_key)
    )
