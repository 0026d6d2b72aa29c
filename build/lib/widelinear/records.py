"""What to record of a training run."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from widelinear.linearize import Params


def relative_change(params: Params, params0: Params) -> dict[str, Float[Array, ""]]:
    r"""How far each layer's parameters have moved, as a fraction of where they started.

    $$\frac{\|\theta^l - \theta^l_0\|}{\|\theta^l_0\|}.$$

    Args:
        params: parameters now.
        params0: parameters at the start.

    Returns:
        The Euclidean norms' ratio for each layer, by its path in the parameters.

    Example:
        >>> import jax.numpy as jnp
        >>> params0 = {"first": {"w": jnp.array([3.0, 4.0])}}
        >>> round(float(relative_change({"first": {"w": jnp.array([3.0, 5.0])}}, params0)["first"]), 6)
        0.2

    Source: paper, Figure 1(b). Oracle: by hand (`tests/test_records.py`).
    """
    squares: dict[str, tuple[Array | int, Array | int]] = {}
    for (path, p), p0 in zip(jax.tree_util.tree_leaves_with_path(params), jax.tree.leaves(params0), strict=True):
        layer = jax.tree_util.keystr(path[:-1], simple=True, separator="/")
        moved, length = squares.get(layer, (0, 0))
        squares[layer] = moved + jnp.sum((p - p0) ** 2), length + jnp.sum(p0**2)
    return {layer: jnp.sqrt(moved / length) for layer, (moved, length) in squares.items()}


def relative_distance(
    kernel: Float[Array | np.ndarray, "*n"], kernel0: Float[Array | np.ndarray, "*n"]
) -> Float[Array, ""]:
    r"""The distance of one kernel matrix from another, relative to that, in Frobenius norm.

    $$\frac{\|\hat\Theta_t - \hat\Theta_0\|_F}{\|\hat\Theta_0\|_F}.$$

    Args:
        kernel: $\hat\Theta_t$, of any shape.
        kernel0: $\hat\Theta_0$.

    Returns:
        One number.

    Example:
        >>> import jax.numpy as jnp
        >>> float(relative_distance(jnp.eye(2) * 3, jnp.eye(2)))
        2.0

    Source: paper, Figure 1(a). Oracle: by hand (`tests/test_records.py`).
    """
    return jnp.linalg.norm((kernel - kernel0).ravel()) / jnp.linalg.norm(kernel0.ravel())


def rmse(outputs: Float[Array | np.ndarray, "n k"], others: Float[Array | np.ndarray, "n k"]) -> Float[Array, ""]:
    r"""The root-mean-square distance between two sets of outputs.

    $$\sqrt{\tfrac{1}{nk}\sum\|f(x) - f^{\mathrm{lin}}(x)\|^2}.$$

    Args:
        outputs: of the network.
        others: of its linearization, for example.

    Returns:
        One number.

    Example:
        >>> import jax.numpy as jnp
        >>> float(rmse(jnp.zeros((2, 1)), jnp.full((2, 1), 2.0)))
        2.0

    Source: paper, Figures 3 and S5. Oracle: by hand (`tests/test_records.py`).
    """
    return jnp.sqrt(jnp.mean((outputs - others) ** 2))


def accuracy(outputs: Float[Array | np.ndarray, "n k"], y: Float[Array | np.ndarray, "n k"]) -> Float[Array, ""]:
    """The fraction of examples whose largest output is that of the largest target; of equal signs for one output.

    Args:
        outputs: of the network.
        y: targets: one-hot, or centred, or ±1 for one output.

    Returns:
        Between 0 and 1.

    Example:
        >>> import jax.numpy as jnp
        >>> float(accuracy(jnp.array([[0.3], [-2.0]]), jnp.array([[1.0], [1.0]])))
        0.5

    Source: paper, Figure 4. Oracle: by hand (`tests/test_records.py`).
    """
    right = (outputs > 0) == (y > 0) if y.shape[1] == 1 else jnp.argmax(outputs, axis=1) == jnp.argmax(y, axis=1)
    return jnp.mean(right, dtype=outputs.dtype)
