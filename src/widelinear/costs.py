r"""What each way to compute an empirical tangent kernel costs, known before it is computed."""

import math
from typing import Any, NamedTuple

import jax
import opt_einsum
from jaxtyping import Array, Float

from widelinear.linearize import Apply, Params
from widelinear.structured import (
    CONTRACTIONS,
    OuterProducts,
    Pairing,
    contraction_order,
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
    apply: Apply, params: Params, x1: Any, x2: Any | None, directions: Float[Array, "q k"], pairing: Pairing
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
    gradients = jax.eval_shape(
        lambda p, *xs: [parameter_gradients(apply, p, x, directions) for x in xs], params, x1, columns
    )
    contractions = [_contraction(g1, g2, pairing, x2 is None) for g1, g2 in zip(*gradients, strict=True)]
    factors = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(gradients[:1] if x2 is None else gradients))
    return {
        "structured": Cost(
            flops=differentiated * (forward + q * backward) + sum(c.flops for c in contractions),
            bytes=itemsize * factors + sum(c.bytes for c in contractions),
        ),
        "jacobian": Cost(
            flops=differentiated * (forward + q * explicit_backward) + 2 * pairs * size,
            bytes=itemsize * (differentiated * q * size + factors),
        ),
        "vector products": Cost(
            flops=n2 * (forward + q * explicit_backward) + 2 * n1 * n2 * q * forward,
            bytes=itemsize * (q * size + sum(math.prod(g.cotangents.shape) for g in gradients[0])),
        ),
    }


def _contraction(g1: OuterProducts, g2: OuterProducts, pairing: Pairing, symmetric: bool) -> Cost:
    """The cost of `kernel_contribution`, its largest intermediate result included."""
    operands = (g1.inputs, g2.inputs, g1.cotangents, g2.cotangents)
    shapes = [leaf.shape for leaf in operands]
    order = contraction_order(g1)
    _, info = opt_einsum.contract_path(CONTRACTIONS[pairing], *shapes, shapes=True, optimize=order)
    flops = float(info.opt_cost)
    if symmetric and info.path[:2] == [(0, 2), (0, 1)]:  # explicit gradients first: made once, used on both sides
        flops -= 2.0 * math.prod(g1.cotangents.shape) * g1.inputs.shape[2]
    return Cost(flops, g1.cotangents.dtype.itemsize * float(info.largest_intermediate))
