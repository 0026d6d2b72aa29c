r"""The kernels of an infinitely wide network, from one rule per layer on one pair of inputs.

A `Kernel` holds what the theory needs to know of one layer at one pair $(x, x')$. A layer's `kernel_rule`
maps the Kernel before the layer to the Kernel after it; a network folds its layers. `kernel_matrix` lifts the
rule from one pair to matrices.
"""

from typing import NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Kernel(NamedTuple):
    r"""Second moments of one layer's pre-activations, and its tangent kernel, at one pair of inputs.

    Args:
        nngp: $\mathcal{K}(x, x')$, covariance of one unit's values at $x$ and $x'$ over random parameters.
        ntk: $\Theta(x, x')$, inner product of the parameter gradients of one unit.
        var1: $\mathcal{K}(x, x)$.
        var2: $\mathcal{K}(x', x')$.

    Example:
        >>> import jax.numpy as jnp
        >>> input_kernel(jnp.array([1.0, 2.0]), jnp.array([3.0, 1.0])).nngp == 5.0 / 2
        Array(True, dtype=bool)

    Source: paper, §2.3 and S25–S35. Oracle: finite networks of growing width (`tests/test_layers_agree.py`).
    """

    nngp: Float[Array, "*site"]
    ntk: Float[Array, "*site"]
    var1: Float[Array, "*site"]
    var2: Float[Array, "*site"]


class Kernels(NamedTuple):
    r"""The two kernel matrices of a network between two sets of inputs.

    Args:
        nngp: $\mathcal{K}(X_1, X_2)$, shape (n1, n2).
        ntk: $\Theta(X_1, X_2)$, shape (n1, n2).

    Example:
        >>> import jax.numpy as jnp
        >>> Kernels(nngp=jnp.eye(2), ntk=jnp.eye(2)).ntk.shape
        (2, 2)

    Source: paper, eq. 12 and §3. Oracle: those of `kernel_matrix`.
    """

    nngp: Float[Array, "n1 n2"]
    ntk: Float[Array, "n1 n2"]


@runtime_checkable
class HasKernelRule(Protocol):
    """Anything with a `kernel_rule`: every layer and network of `widelinear.nets`, or one of your own.

    Example:
        >>> import widelinear as wl
        >>> isinstance(wl.mlp(depth=1, width=8), HasKernelRule)
        True

    Source: our own: an architecture without weights stands for its infinite-width limit.
    Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """Map the Kernel before the layer to the Kernel after it."""


def input_kernel(x1: Float[Array, " d"], x2: Float[Array, " d"]) -> Kernel:
    r"""The Kernel of the inputs themselves: no randomness yet, so no tangent kernel.

    $$\mathcal{K}(x, x') = \frac{x \cdot x'}{n_0}, \qquad \Theta(x, x') = 0.$$

    Args:
        x1: one input, $n_0$ numbers.
        x2: another.

    Returns:
        The Kernel that the first layer's rule starts from.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(input_kernel(jnp.ones(4), jnp.ones(4)).var1 == 1)
        True

    Source: paper, S25. Oracle: the Gram matrix (`tests/test_kernels.py`).
    """
    features = x1.shape[0]
    nngp = x1 @ x2 / features
    return Kernel(nngp, jnp.zeros_like(nngp), var1=x1 @ x1 / features, var2=x2 @ x2 / features)


def kernel_matrix(net: HasKernelRule, x1: Float[Array, "n1 d"], x2: Float[Array, "n2 d2"] | None = None) -> Kernels:
    r"""The kernels $\mathcal{K}$ and $\Theta$ of an infinitely wide network between all pairs of inputs.

    $$\mathcal{K}(x, x') = \lim_{n\to\infty} \mathbb{E}\big[f_0(x)\,f_0(x')\big], \qquad
      \Theta(x, x') = \lim_{n\to\infty} \nabla_\theta f_0(x)\cdot\nabla_\theta f_0(x').$$

    With several outputs both are these matrices times the identity over outputs.

    Args:
        net: a network of `widelinear.nets`; its widths do not matter.
        x1: inputs. Use float64: in float32 the angle between close inputs is right to $\sqrt\epsilon$ only.
        x2: more inputs; by default `x1` again.

    Returns:
        `Kernels`: both matrices, shape (n1, n2).

    Raises:
        ValueError: if the two sets of inputs have different numbers of features.

    Example:
        >>> import jax, jax.numpy as jnp, widelinear as wl
        >>> net = wl.mlp(depth=2, width=8, activation=wl.relu, w_std=2**0.5)
        >>> x = jax.random.normal(jax.random.key(0), (3, 5))
        >>> nngp, ntk = wl.kernel_matrix(net, x)
        >>> nngp.shape, bool((jnp.diag(ntk) > jnp.diag(nngp)).all())
        ((3, 3), True)

    Source: paper, eq. 12, S25–S35.
    Oracle: frozen neural-tangents numbers, and finite networks (`tests/test_kernels.py`).
    """
    if x2 is not None and x1.shape[1] != x2.shape[1]:
        raise ValueError(
            f"kernel_matrix: both sets of inputs must have the same number of features, but x1 has {x1.shape[1]} "
            f"and x2 has {x2.shape[1]}; flatten and standardise them alike."
        )
    pairs = jax.vmap(jax.vmap(input_kernel, in_axes=(None, 0)), in_axes=(0, None))
    kernel = pairs(x1, x1 if x2 is None else x2)
    if x2 is None:
        # A matrix product and a dot product round differently; an input's angle to itself must be exactly 0.
        kernel = kernel._replace(nngp=jnp.where(jnp.eye(len(x1), dtype=bool), kernel.var1, kernel.nngp))
    out = net.kernel_rule(kernel)
    return Kernels(out.nngp, out.ntk)
