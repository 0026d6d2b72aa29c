r"""The kernels of an infinitely wide network, from one rule per layer on one pair of inputs.

A `Kernel` holds what the theory needs to know of one layer at one pair $(x, x')$. A layer's `kernel_rule`
maps the Kernel before the layer to the Kernel after it; a network folds its layers. `kernel_matrix` (in
`matrices`) lifts the rule from one pair to matrices.

An image has many sites. A network that never mixes them needs the covariance of a site with the *same* site of the
other image: P numbers. One that does (by pooling) needs every site with every site: P². `Needs` says which.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


class Law(NamedTuple):
    r"""What is known, without computing, of the values that a Kernel describes.

    Args:
        gaussian: over random parameters they are jointly Gaussian with mean 0, as activations require.
        fresh: they come from weights of the branch at hand, so they are uncorrelated with every other branch.
        fan: how many values of each unit the next dense layer reads (1; the number of sites after Flatten).
            None: the layer before is the input, of finite size.

    Example:
        >>> Law().gaussian, Law(gaussian=True, fresh=True, fan=1).fan
        (False, 1)

    Source: paper, §2.3 and F. Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    gaussian: bool = False
    fresh: bool = False
    fan: int | None = None


class Needs(NamedTuple):
    """What a network must be given of its inputs; layers pass it from the output back to the input.

    Args:
        joint: covariances between different sites of the two inputs: P² numbers for P sites, not P.
        variances: some later layer reads the variances.
        own_joint: covariances between different sites of one input too, because a variance is read after pooling.

    Example:
        >>> import widelinear as wl
        >>> wl.mlp(depth=1, width=8).needs(Needs())
        Needs(joint=False, variances=True, own_joint=False)

    Source: our own. Oracle: a network with all positions carried (`tests/test_kernels.py`).
    """

    joint: bool = False
    variances: bool = False
    own_joint: bool = False


NOTHING = Needs()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Kernel:
    r"""Second moments of one layer's values, and its tangent kernel, at one pair of inputs.

    For inputs without sites every array is a number. With sites, say an image of shape (h, w), `nngp` and `ntk` have
    shape (h, w), or (h, w, h, w) where the network mixes sites; the variances likewise.

    Args:
        nngp: $\mathcal{K}(x, x')$, covariance of one unit's values at $x$ and $x'$ over random parameters.
        ntk: $\Theta(x, x')$, inner product of the parameter gradients of one unit.
        var1: $\mathcal{K}(x, x)$. None after a pooling layer that no later layer asks it of.
        var2: $\mathcal{K}(x', x')$, likewise.
        gap: half the expected squared distance of the two values, $(\mathcal{K}(x, x) + \mathcal{K}(x', x')) / 2 -
            \mathcal{K}(x, x')$, carried along because for close inputs the difference would cancel. None where sites
            are mixed: there it is taken from the difference.
        sites: the number of site axes.
        law: what is known of the values' distribution.

    Example:
        >>> import jax.numpy as jnp
        >>> input_kernel(jnp.array([1.0, 2.0]), jnp.array([3.0, 1.0])).nngp == 5.0 / 2
        Array(True, dtype=bool)

    Source: paper, §2.3 and S25–S35. Oracle: finite networks of growing width (`tests/test_layers_agree.py`).
    """

    nngp: Any
    ntk: Any
    var1: Any
    var2: Any
    gap: Any = None
    sites: int = field(default=0, metadata={"static": True})
    law: Law = field(default=Law(), metadata={"static": True})

    def replace(self, **changes: Any) -> "Kernel":
        """The Kernel with some fields changed.

        Args:
            changes: fields by name.
        """
        return replace(self, **changes)

    def each(self, rule: Callable[[Array], Array], **changes: Any) -> "Kernel":
        """The Kernel with one rule applied to the covariance and to both variances.

        Args:
            rule: what happens to a second moment.
            changes: other fields, by name.
        """
        var1, var2 = (None if var is None else rule(var) for var in (self.var1, self.var2))
        return replace(self, nngp=rule(self.nngp), var1=var1, var2=var2, **changes)

    def with_gap(self, gap: Array | None) -> "Kernel":
        """The Kernel with this gap, and the covariance that the gap and the variances imply.

        Args:
            gap: half the expected squared distance; None leaves the covariance as it is.
        """
        if gap is None:
            return replace(self, gap=None)
        return replace(self, gap=gap, nngp=(self.var1 + self.var2) / 2 - gap)

    def variances(self) -> tuple[Array, Array]:
        """The variances of the two values that each entry of `nngp` belongs to."""
        if self.var1 is None or self.var2 is None:
            raise ValueError(
                "Kernel.variances: a layer reads the variances after a pooling layer, but its `needs` did not ask for "
                "them; give the layer a method `needs(after)` that returns `after._replace(variances=True)`."
            )
        var1, var2 = (same_site(var, self.sites) for var in (self.var1, self.var2))
        if self.nngp.ndim == self.sites:
            return var1, var2
        ones = (1,) * self.sites
        return var1.reshape(var1.shape + ones), var2.reshape(ones + var2.shape)

    def distance(self) -> Array:
        r"""The gap, from the covariances where it is not carried.

        Their difference is then right to $\epsilon\,\mathcal{K}$ only. What is below that is 0: two values that
        coincide must have the angle 0, not $\sqrt\epsilon$.
        """
        if self.gap is not None:
            return self.gap
        var1, var2 = self.variances()
        gap, rounding = (var1 + var2) / 2 - self.nngp, 4 * jnp.finfo(self.nngp.dtype).eps * (var1 + var2)
        return jnp.where(gap > rounding, gap, jnp.zeros_like(gap))


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

    A layer that mixes sites or reads variances also has `needs(after)`, which maps what its output must be given to
    what its input must be given.

    Example:
        >>> import widelinear as wl
        >>> isinstance(wl.mlp(depth=1, width=8), HasKernelRule)
        True

    Source: our own: an architecture without weights stands for its infinite-width limit.
    Oracle: convergence in width (`tests/test_layers_agree.py`).
    """

    def kernel_rule(self, kernel: Kernel) -> Kernel:
        """Map the Kernel before the layer to the Kernel after it."""


def same_site(values: Float[Array, "..."], sites: int) -> Float[Array, "..."]:
    r"""The covariances of every site with itself.

    $$\mathrm{out}_p = \mathrm{values}_{p\,p} .$$

    Args:
        values: an array over pairs of sites, such as (h, w, h, w); over single sites it stays as it is.
        sites: the number of site axes.

    Returns:
        An array over sites, such as (h, w).

    Example:
        >>> import jax.numpy as jnp
        >>> same_site(jnp.array([[1.0, 2.0], [3.0, 4.0]]), sites=1).tolist()
        [1.0, 4.0]

    Source: our own. Oracle: networks that flatten against networks that pool (`tests/test_kernels.py`).
    """
    if values.ndim == sites:
        return values
    shape = values.shape[:sites]
    count = math.prod(shape)
    return jnp.diagonal(values.reshape(count, count)).reshape(shape)


def input_kernel(x1: Float[Array, "*sites d"], x2: Float[Array, "*sites d"], needs: Needs = NOTHING) -> Kernel:
    r"""The Kernel of the inputs themselves: no randomness yet, so no tangent kernel.

    $$\mathcal{K}(x, x') = \frac{x \cdot x'}{n_0}, \qquad \Theta(x, x') = 0,$$

    for every site, or every pair of sites, with $n_0$ the number of channels.

    Args:
        x1: one input, channels last: $n_0$ numbers, or $n_0$ at every site.
        x2: another.
        needs: what the network reads; by default each site is compared with the same site.

    Returns:
        The Kernel that the first layer's rule starts from.

    Example:
        >>> import jax.numpy as jnp
        >>> bool(input_kernel(jnp.ones(4), jnp.ones(4)).var1 == 1)
        True

    Source: paper, S25. Oracle: the Gram matrix (`tests/test_kernels.py`).
    """
    aligned, joint = _aligned_product, _joint_product
    own = joint if needs.own_joint else aligned
    nngp = (joint if needs.joint else aligned)(x1, x2)
    gap = None if needs.joint else _aligned_product(x1 - x2, x1 - x2) / 2
    return Kernel(nngp, jnp.zeros_like(nngp), own(x1, x1), own(x2, x2), gap, sites=x1.ndim - 1)


def _aligned_product(x1: Float[Array, "*sites d"], x2: Float[Array, "*sites d"]) -> Float[Array, "*sites"]:
    """The inner product over channels at every site, over the number of channels."""
    return jnp.sum(x1 * x2, -1) / x1.shape[-1]


def _joint_product(x1: Float[Array, "*sites d"], x2: Float[Array, "*sites d"]) -> Float[Array, "..."]:
    """The inner product over channels of every site of one input with every site of the other."""
    product = jnp.tensordot(x1, x2, axes=(-1, -1), precision=jax.lax.Precision.HIGHEST)
    return product / x1.shape[-1]
