"""How many operations a traced program takes, by its jaxpr: nothing is computed."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

_FEW = 256  # integers that are followed through a program: the numbers of steps of its loops
_FACTORS = {  # of the cube of the size: leading terms of the usual algorithms
    "cholesky": 1 / 3,
    "eigh": 9.0,
    "triangular_solve": 1.0,
    "svd": 20.0,
    "lu": 2 / 3,
    "householder_product": 2.0,
}


def operations(program: ClosedJaxpr, arguments: Sequence[Any]) -> float:
    """Additions and multiplications of one call, those in double precision counted twice.

    A loop whose number of steps is an argument, or computed from arguments, is counted as often as it runs; one that
    stops when a condition is met, once.

    Args:
        program: a traced function.
        arguments: what it is called with, flat; only integers among them matter.

    Returns:
        The number of operations.
    """
    return _count(program.jaxpr, [_integers(value) for value in arguments])


def _count(jaxpr: Jaxpr, arguments: Sequence[Any]) -> float:
    known = {var: value for var, value in zip(jaxpr.invars, arguments, strict=True) if value is not None}
    total = 0.0
    for eqn in jaxpr.eqns:
        values = [_integers(v.val) if isinstance(v, Literal) else known.get(v) for v in eqn.invars]
        inside = list(_programs(eqn.params))
        total += _of_programs(eqn, inside, values) if inside else _of_one(eqn)
        pure = not eqn.effects and "callback" not in eqn.primitive.name  # a callback may refuse what it gets
        if not inside and pure and values and all(value is not None for value in values):
            found = eqn.primitive.bind(*values, **eqn.params)
            results = found if eqn.primitive.multiple_results else [found]
            known |= {var: np.asarray(value) for var, value in zip(eqn.outvars, results, strict=True)}
    return total


def _of_programs(eqn: Any, inside: Sequence[Jaxpr], values: Sequence[Any]) -> float:
    """A call, a branch or a loop."""
    if eqn.primitive.name == "scan":
        return _of_scan(eqn, inside[0], values)
    if eqn.primitive.name == "while":
        return _of_while(eqn, values)
    if eqn.primitive.name == "cond":
        return max(_count(branch, values[1:]) for branch in inside)
    return sum(_count(sub, values if len(sub.invars) == len(values) else [None] * len(sub.invars)) for sub in inside)


def _of_scan(eqn: Any, body: Jaxpr, values: Sequence[Any]) -> float:
    constants, carried = eqn.params["num_consts"], eqn.params["num_carry"]
    first, rows = values[:constants], values[constants + carried :]
    if all(row is None for row in rows):
        return float(eqn.params["length"]) * _count(body, [*first, *[None] * (carried + len(rows))])
    return sum(
        _count(body, [*first, *[None] * carried, *(None if row is None else row[step] for row in rows)])
        for step in range(eqn.params["length"])
    )


def _of_while(eqn: Any, values: Sequence[Any]) -> float:
    """`fori_loop` with a number of steps that is not fixed: its carry begins with the first step and the last."""
    condition, body = eqn.params["cond_jaxpr"].jaxpr, eqn.params["body_jaxpr"].jaxpr
    of_condition, of_body = eqn.params["cond_nconsts"], eqn.params["body_nconsts"]
    constants, carry = values[of_condition : of_condition + of_body], values[of_condition + of_body :]
    counts = len(condition.eqns) == 1 and condition.eqns[0].primitive.name == "lt" and len(carry) > 1
    known = counts and carry[0] is not None and carry[1] is not None
    times = max(0, int(carry[1]) - int(carry[0])) if known else 1
    return times * _count(body, [*constants, *[None] * len(carry)])


def _of_one(eqn: Any) -> float:
    if not eqn.outvars or not hasattr(eqn.outvars[0].aval, "shape"):  # a call back to Python, a token
        return 0.0
    name, outputs = eqn.primitive.name, eqn.outvars[0].aval
    size = float(np.prod(outputs.shape))
    if name == "dot_general":
        (contracted, _), _ = eqn.params["dimension_numbers"]
        size *= 2 * float(np.prod([eqn.invars[0].aval.shape[axis] for axis in contracted]))
    elif name == "conv_general_dilated":
        kernel = eqn.invars[1].aval.shape
        size *= 2 * float(np.prod(kernel)) / kernel[eqn.params["dimension_numbers"].rhs_spec[0]]
    elif name in _FACTORS:
        matrix = eqn.invars[0].aval.shape
        size = (
            _FACTORS[name] * float(np.prod(matrix)) * (outputs.shape[-1] if name == "triangular_solve" else matrix[-1])
        )
    return size * (2 if outputs.dtype in (np.float64, np.complex128) else 1)


def _programs(parameters: dict[str, Any]) -> Iterator[Jaxpr]:
    for value in parameters.values():
        for sub in value if isinstance(value, tuple | list) else (value,):
            if isinstance(sub, ClosedJaxpr):
                yield sub.jaxpr
            elif isinstance(sub, Jaxpr):
                yield sub


def _integers(value: Any) -> np.ndarray | None:
    """The value, where it is made of a few integers."""
    if isinstance(value, int | np.integer):
        return np.asarray(value)
    is_array = isinstance(value, np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer)
    if not is_array or not isinstance(value.dtype, np.dtype) or not np.issubdtype(value.dtype, np.integer):
        return None
    return np.asarray(value) if value.size <= _FEW else None
