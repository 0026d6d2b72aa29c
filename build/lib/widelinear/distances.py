r"""Distances between all pairs of inputs that stay right where inputs nearly coincide."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

HIGHEST = jax.lax.Precision.HIGHEST


@jax.custom_jvp
def half_squared_distances(x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"]) -> Float[Array, "n1 n2"]:
    r"""Half the mean squared difference of all pairs of inputs.

    $$g_{ij} = \frac{1}{2d}\,\|x_i - x'_j\|^2 .$$

    A matrix product gives it with an error of $\epsilon$ times the squared norms, too much for close inputs: the angle
    between them would be wrong by $\sqrt\epsilon$. Where it comes out small it is computed anew from the difference.

    Args:
        x1: inputs.
        x2: more inputs.

    Returns:
        Shape (n1, n2); exactly 0 where two inputs are equal.

    Example:
        >>> import jax.numpy as jnp
        >>> half_squared_distances(jnp.array([[1.0, 2.0]]), jnp.array([[1.0, 2.0], [1.0, 0.0]])).tolist()
        [[0.0, 1.0]]

    Source: our own. Oracle: differences in float64 (`tests/test_distances.py`).
    """
    features = x1.shape[1]
    norms = jnp.sum(x1**2, 1)[:, None] / 2 + jnp.sum(x2**2, 1)[None, :] / 2
    distances = (norms - jnp.matmul(x1, x2.T, precision=HIGHEST)) / features
    # An error ε in g is an error ε/θ in the angle θ, and θ² is g: below ε^(1/3) the matrix product is not good enough.
    close = distances <= jnp.finfo(x1.dtype).eps ** (1 / 3) * norms / features
    distances, _ = jax.lax.while_loop(
        lambda state: state[1].any(), lambda state: _refined(x1, x2, *state), (distances, close)
    )
    return distances


def _refined(
    x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d"], distances: Float[Array, "n1 n2"], close: Bool[Array, "n1 n2"]
) -> tuple[Float[Array, "n1 n2"], Bool[Array, "n1 n2"]]:
    """One close pair of every row computed from its difference; close pairs are few, so that few rounds are needed."""
    column = jnp.argmax(close, axis=1)
    exact = jnp.mean((x1 - x2[column]) ** 2, axis=1) / 2
    chosen = close & (jnp.arange(len(x2))[None, :] == column[:, None])
    return jnp.where(chosen, exact[:, None], distances), close & ~chosen


@half_squared_distances.defjvp
def _derivative(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    r"""$(x - x') \cdot (\dot x - \dot x') / d$, by matrix products."""
    (x1, x2), (dx1, dx2) = primals, tangents
    own = jnp.sum(x1 * dx1, 1)[:, None] + jnp.sum(x2 * dx2, 1)[None, :]
    across = jnp.matmul(x1, dx2.T, precision=HIGHEST) + jnp.matmul(dx1, x2.T, precision=HIGHEST)
    return half_squared_distances(x1, x2), (own - across) / x1.shape[1]
