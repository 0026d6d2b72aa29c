"""What the library asks of a network: `apply(params, x)`, one row of outputs for each example."""

from typing import Any

import jax
import jax.numpy as jnp

from widelinear.linearize import Apply, Params


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
        ValueError: if a parameter is not a floating-point array, or if the outputs are not one array of shape (n, k).

    Example:
        >>> import jax.numpy as jnp
        >>> output_shape("here", lambda w, x: x @ w, jnp.ones((5, 2)), jnp.ones((3, 5))).shape
        (3, 2)

    Source: house rule. Oracle: bad models are refused (`tests/test_models.py`).
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
            raise ValueError(
                f"{caller}: params must be floating-point arrays, but params{jax.tree_util.keystr(path)} is "
                f"{jnp.result_type(leaf)}; keep what is not trained out of params, in a closure of apply for example."
            )
    outputs = jax.eval_shape(apply, params, x)
    if not isinstance(outputs, jax.ShapeDtypeStruct) or outputs.ndim != 2 or outputs.shape[0] != x.shape[0]:
        came = jax.tree.map(lambda leaf: leaf.shape, outputs)
        raise ValueError(
            f"{caller}: apply(params, x) must return one array of shape (n, k), a row of k outputs for each of the "
            f"n = {x.shape[0]} examples, but came {came}; return the outputs alone, flattened to two axes."
        )
    return outputs
