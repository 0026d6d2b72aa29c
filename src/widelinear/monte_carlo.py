r"""The infinite-width kernels by sampling finite networks: for any `init` and `apply`, with a standard error."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from widelinear.empirical import empirical_nngp, empirical_ntk
from widelinear.kernels import Kernels
from widelinear.layers import Dense
from widelinear.linearize import Apply, Params
from widelinear.nets import Serial
from widelinear.progress import progress
from widelinear.span import rotate_into_span


class SampledKernels(NamedTuple):
    r"""Kernels averaged over random networks, and how far the average may be off.

    Args:
        mean: `Kernels`: the average NNGP and tangent kernels, shape (n1, n2).
        standard_error: `Kernels`: the standard errors of these averages, shape (n1, n2).

    Example:
        >>> import jax.numpy as jnp
        >>> zeros = Kernels(jnp.zeros((1, 1)), jnp.zeros((1, 1)))
        >>> SampledKernels(mean=zeros, standard_error=zeros).mean.ntk.shape
        (1, 1)

    Source: paper, Figures S9 and S10. Oracle: that of `monte_carlo_kernels`.
    """

    mean: Kernels
    standard_error: Kernels


def monte_carlo_kernels(
    init: Callable[[Array, Array], Params],
    apply: Apply,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None = None,
    *,
    key: Array,
    samples: int,
    batch_size: int | None = None,
) -> SampledKernels:
    r"""The kernels of networks of one width, averaged over random parameters and over outputs.

    $$\bar{\mathcal K} = \frac1M \sum_{s=1}^M \frac1k \sum_{i=1}^k f_i^s(x)\,f_i^s(x'), \qquad
      \bar\Theta = \frac1M \sum_{s=1}^M \frac1k \sum_{i=1}^k \nabla_\theta f_i^s(x) \cdot \nabla_\theta f_i^s(x').$$

    For layers without a kernel rule it stands in for `kernel_matrix`. Its distance to the limit has two parts: the
    standard error, which falls as $1/\sqrt M$, and that of the mean, which falls with the width only.

    Random numbers are what takes the time. A `Serial` that begins with `Dense` in NTK parameterization is given its
    inputs by `rotate_into_span`: the same law, and no weights for directions that no input has.

    Args:
        init: draws parameters, `init(key, x)`.
        apply: the network, `apply(params, x)`.
        x1: inputs.
        x2: more inputs; by default `x1` again.
        key: a JAX random key.
        samples: the number $M$ of networks, at least 2.
        batch_size: bounds memory, as in `empirical_ntk`.

    Returns:
        `SampledKernels`: means and standard errors.

    Raises:
        ValueError: if there are fewer than 2 samples, which have no standard error.

    Example:
        >>> import jax, widelinear as wl
        >>> net, x = wl.mlp(depth=1, width=64), jax.numpy.eye(3)
        >>> sampled = wl.monte_carlo_kernels(net.init, net.apply, x, key=jax.random.key(0), samples=4)
        >>> sampled.mean.ntk.shape, bool((sampled.standard_error.ntk >= 0).all())
        ((3, 3), True)

    Source: paper, Figures S9 and S10. Oracle: NumPy's mean and deviation of single networks, and the limit
    (`tests/test_monte_carlo.py`).
    """
    if samples < 2:
        raise ValueError(f"monte_carlo_kernels: samples must be at least 2, but came {samples}; one has no error.")
    if x1.ndim == 2 and _sees_inner_products_only(init, apply):
        x1, *rest = rotate_into_span(*([x1] if x2 is None else [x1, x2]))
        x2 = rest[0] if rest else None

    one = partial(_sample, init=init, apply=apply, x1=x1, x2=x2, batch_size=batch_size)
    mean = squares = jax.tree.map(lambda kernel: jnp.zeros(kernel.shape, kernel.dtype), jax.eval_shape(one, key))
    for count, sample_key in enumerate(progress("networks", jax.random.split(key, samples), unit="network"), start=1):
        mean, squares = _updated(mean, squares, one(sample_key), count)
    return SampledKernels(mean, jax.tree.map(lambda s: jnp.sqrt(s / (samples * (samples - 1))), squares))


def _sees_inner_products_only(init: Callable[[Array, Array], Params], apply: Apply) -> bool:
    """Whether init and apply are those of a network whose law is the same in every basis of the inputs."""
    net = getattr(apply, "__self__", None)
    if not isinstance(net, Serial) or init != net.init or apply != net.apply or not isinstance(net.layers[0], Dense):
        return False
    return net.layers[0].parameterization == "ntk"


@partial(jax.jit, static_argnames=("init", "apply", "batch_size"))
def _sample(
    key: Array,
    *,
    init: Callable[[Array, Array], Params],
    apply: Apply,
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None,
    batch_size: int | None,
) -> Kernels:
    """The kernels of one random network."""

    def one_by_one(params: Params, x: Float[Array, "n ..."]) -> Float[Array, "n k"]:
        return jax.vmap(lambda x: apply(params, x[None])[0])(x)  # as the tangent kernel does: XLA computes it once

    params = init(key, x1[:1])
    ntk = empirical_ntk(apply, params, x1, x2, outputs="mean", batch_size=batch_size)
    return Kernels(empirical_nngp(one_by_one, params, x1, x2), ntk)


@jax.jit
def _updated(mean: Kernels, squares: Kernels, sample: Kernels, count: Array | int) -> tuple[Kernels, Kernels]:
    """Welford's update of a mean and of the sum of squared deviations from it: no difference of large numbers."""
    change = jax.tree.map(jnp.subtract, sample, mean)
    mean = jax.tree.map(lambda m, d: m + d / jnp.asarray(count, d.dtype), mean, change)
    squares = jax.tree.map(lambda s, d, x, m: s + d * (x - m), squares, change, sample, mean)
    return mean, squares
