r"""The tangent kernel of one finite network, for any `apply(params, x)`."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from widelinear.linearize import Apply, Params
from widelinear.progress import progress


def empirical_ntk(
    apply: Apply,
    params: Params,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None = None,
    *,
    batch_size: int = 1,
) -> Float[Array, "n1 n2 k k"]:
    r"""The empirical tangent kernel between all pairs of inputs and of outputs.

    $$\hat\Theta(x, x')_{ij} = \nabla_\theta f_i(x) \cdot \nabla_\theta f_j(x').$$

    One column at a time: the gradient at $x'$ is pulled back through the network once, then pushed forward through
    all of `x1`. Beside the result this holds `batch_size × k` gradients, never the whole Jacobian.

    Args:
        apply: the network, `apply(params, x)`, with outputs of shape (n, k).
        params: its parameters.
        x1: inputs.
        x2: more inputs; by default `x1` again.
        batch_size: how many inputs of `x2` are pulled back together.

    Returns:
        $\hat\Theta$, shape (n1, n2, k, k), in the dtype of the outputs.

    Raises:
        ValueError: if `batch_size` is below 1.

    Example:
        >>> import jax, widelinear as wl
        >>> net = wl.mlp(depth=1, width=8, outputs=2)
        >>> x = jax.random.normal(jax.random.key(0), (3, 5))
        >>> params = net.init(jax.random.key(1), x)
        >>> wl.empirical_ntk(net.apply, params, x).shape
        (3, 3, 2, 2)

    Source: paper, eq. 4. Oracle: explicit Jacobians, `oracles.jacobian_ntk` (`tests/test_empirical.py`).
    """
    if batch_size < 1:
        raise ValueError(f"empirical_ntk: batch_size must be at least 1, but came {batch_size}.")
    x2 = x1 if x2 is None else x2
    starts = progress("empirical NTK", range(0, len(x2), batch_size), unit="block")
    blocks = [_columns(apply, params, x1, x2[i : i + batch_size]) for i in starts]
    return jnp.transpose(jnp.concatenate(blocks), (2, 0, 3, 1))


@partial(jax.jit, static_argnames="apply")
def _columns(
    apply: Apply, params: Params, x1: Float[Array, "n1 ..."], x2: Float[Array, "b ..."]
) -> Float[Array, "b k n1 k"]:
    """The kernel between every output at each of `x2` (first two axes) and every output at each of `x1`."""

    def of_one_input(x: Float[Array, "..."]) -> Float[Array, "k n1 k"]:
        outputs, pull_back = jax.vjp(lambda p: apply(p, x[None])[0], params)
        (gradients,) = jax.vmap(pull_back)(jnp.eye(len(outputs), dtype=outputs.dtype))
        return jax.vmap(lambda g: jax.jvp(lambda p: apply(p, x1), (params,), (g,))[1])(gradients)

    return jax.vmap(of_one_input)(x2)
