r"""What each way to compute an empirical tangent kernel costs, known before it is computed."""

import math
from typing import Any, NamedTuple

import jax

from widelinear.linearize import Apply, Params
from widelinear.structured import (
    CHUNK_BYTES,
    Directions,
    OuterProducts,
    Pairing,
    contraction,
    parameter_gradients,
    pull_back_flops,
)

Method = str  # "structured", "jacobian" or "vector products"


class Cost(NamedTuple):
    """Operations and temporary memory of a computation, estimated.

    Args:
        flops: multiplications and additions in matrix products and convolutions.
        bytes: peak memory beside parameters, inputs and result.

    Example:
        >>> Cost(flops=2e9, bytes=1e6).flops
        2000000000.0

    Source: counted from shapes. Oracle: XLA's analysis of the compiled program (`tests/test_costs.py`).
    """

    flops: float
    bytes: float


def cheapest(costs: dict[Method, Cost], memory: float) -> Method:
    """The method with the fewest operations among those that fit into memory; if none fits, the smallest.

    Args:
        costs: of each method.
        memory: bytes that may be used.

    Returns:
        The name of the method.

    Example:
        >>> costs = {"jacobian": Cost(flops=1.0, bytes=100.0), "vector products": Cost(flops=2.0, bytes=10.0)}
        >>> cheapest(costs, memory=1000.0), cheapest(costs, memory=50.0)
        ('jacobian', 'vector products')

    Source: house rule. Oracle: by hand (`tests/test_costs.py`).
    """
    fitting = [method for method in costs if costs[method].bytes <= memory]
    if not fitting:
        return min(costs, key=lambda method: costs[method].bytes)
    return min(fitting, key=lambda method: costs[method].flops)


def method_costs(
    apply: Apply, params: Params, x1: Any, x2: Any | None, directions: Directions, pairing: Pairing
) -> dict[Method, Cost]:
    """The cost of each method, for given combinations of outputs; nothing is computed.

    Args:
        apply: the network, `apply(params, x)`.
        params: its parameters, or their shapes (`jax.ShapeDtypeStruct`).
        x1: inputs, or their shape.
        x2: more inputs; None for `x1` again.
        directions: which combinations of outputs.
        pairing: how they are paired, as in `kernel_contribution`.

    Returns:
        A `Cost` for "structured", "jacobian" and "vector products".

    Example:
        >>> import jax.numpy as jnp
        >>> apply, x = (lambda w, x: x @ w), jnp.ones((3, 5))
        >>> sorted(method_costs(apply, jnp.ones((5, 2)), x, None, jnp.eye(2), "full"))
        ['jacobian', 'structured', 'vector products']

    Source: counted from shapes. Oracle: XLA's analysis of the compiled program (`tests/test_costs.py`).
    """
    columns = x1 if x2 is None else x2
    n1, n2, q = x1.shape[0], columns.shape[0], directions.shape[0]
    differentiated = n1 if x2 is None else n1 + n2
    itemsize = directions.dtype.itemsize
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))
    forward, backward = pull_back_flops(apply, params, x1, explicit=False)
    _, explicit_backward = pull_back_flops(apply, params, x1, explicit=True)
    pairs = n1 * n2 * (q * q if pairing == "full" else q)
    xs = [x1] if x2 is None else [x1, x2]
    gradients = [jax.eval_shape(lambda p, x: parameter_gradients(apply, p, x, directions), params, x) for x in xs]
    kernel = _of_outer_products(gradients, pairing)
    factors = sum(_bytes(leaf) for leaf in jax.tree.leaves(gradients))
    return {
        "structured": Cost(differentiated * (forward + q * backward) + kernel.flops, kernel.bytes),
        "jacobian": Cost(
            flops=differentiated * (forward + q * explicit_backward) + 2 * pairs * size,
            bytes=itemsize * differentiated * q * size + factors,
        ),
        "vector products": Cost(
            flops=n2 * (forward + q * explicit_backward) + 2 * n1 * n2 * q * forward,
            bytes=itemsize * q * size + sum(_bytes(gradient.cotangents) for gradient in gradients[0]),
        ),
    }


def _of_outer_products(gradients: list[list[OuterProducts]], pairing: Pairing) -> Cost:
    """What `kernel_gradients` and `kernel_contribution` take beside the pull-back."""
    flops, held, passing = 0.0, 0.0, 0.0
    for same in zip(*gradients, strict=True):
        operations, largest, explicit = contraction(same[0], same[-1], pairing)
        factors = sum(_bytes(leaf) for leaf in jax.tree.leaves(same))
        written = [
            2.0 * math.prod(g.cotangents.shape) * g.inputs.shape[2] for g in same
        ]  # operations to sum over sites
        if explicit:
            # With one set of inputs `contraction` counts twice what is written out once.
            flops += operations - (written[0] if len(same) == 1 else 0.0)
            held += sum(
                w / (2 * g.inputs.shape[1]) * g.inputs.dtype.itemsize for w, g in zip(written, same, strict=True)
            )
            passing += factors
        else:
            flops += operations
            held += factors + largest * same[0].inputs.dtype.itemsize
    return Cost(flops, held + min(passing, CHUNK_BYTES))


def _bytes(leaf: jax.ShapeDtypeStruct) -> int:
    return math.prod(leaf.shape) * leaf.dtype.itemsize
