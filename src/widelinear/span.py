"""Inputs in fewer coordinates: a fully connected network sees nothing of them but their inner products."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float


def rotate_into_span(*inputs: Float[Array, "..."]) -> list[Float[Array, "_ r"]]:
    r"""Rotate inputs into the space that they span, which has at most as many coordinates as there are inputs.

    $$x \mapsto \sqrt{\tfrac{r}{d}}\;Q^T x, \qquad
      \tfrac{1}{r}\,\tilde{x} \cdot \tilde{x}' = \tfrac{1}{d}\,x \cdot x'.$$

    Gaussian weights of the first layer are Gaussian in every basis, and a gradient never leaves the span. So a fully
    connected network in NTK parameterization has the same distribution, at the start and after any training on these
    inputs, at a cost of $r$ rather than $d$ weights for each unit of its first layer. (In standard parameterization
    the first layer would train at another rate, by the factor $r/d$.)

    Args:
        inputs: arrays of inputs with d coordinates, for example training and test images. All that the network is
            ever to see must be among them, or be a linear combination of them.

    Returns:
        The same inputs with $r = \min(d, \text{number of inputs})$ coordinates, in the same order.

    Raises:
        ValueError: if inputs are not vectors, or have different numbers of coordinates.

    Example:
        >>> import jax.numpy as jnp
        >>> train, test = rotate_into_span(jnp.ones((2, 100)), jnp.eye(100)[:1])
        >>> train.shape, test.shape
        ((2, 3), (1, 3))

    Source: paper, eq. 1: inputs enter through the first layer alone. Oracle: the same kernels and, with rotated
    weights, the same trained outputs (`tests/test_span.py`).
    """
    _check_vectors(inputs)
    stacked = jnp.concatenate(inputs)
    count, coordinates = stacked.shape
    if count >= coordinates:
        return list(inputs)
    rotated = jnp.linalg.qr(stacked.T, mode="r").T * (count / coordinates) ** 0.5
    ends = [sum(len(x) for x in inputs[: i + 1]) for i in range(len(inputs))]
    return jnp.split(rotated, ends[:-1])


def _check_vectors(inputs: Sequence[Array]) -> None:
    shapes = [x.shape for x in inputs]
    if not inputs or any(len(shape) != 2 or shape[1] != shapes[0][1] for shape in shapes):
        raise ValueError(
            f"rotate_into_span: inputs must be vectors with one number of coordinates, but came with shapes {shapes}; "
            "flatten images first."
        )
