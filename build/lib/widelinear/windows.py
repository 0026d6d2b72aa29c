r"""Sums over sliding windows: what convolution and pooling do to a kernel.

At infinite width a convolution leaves of its weights only the window: the covariance of two sites becomes the mean of
the covariances of all sites that one weight meets at once. Windows are separable, so the sum runs axis by axis.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PADDINGS = ("SAME", "VALID", "CIRCULAR")


def pad_widths(size: int, window: int, stride: int, padding: str) -> tuple[int, int]:
    r"""How many sites a padding adds before and after an axis.

    `SAME` and `CIRCULAR` keep $\lceil \mathrm{size} / \mathrm{stride} \rceil$ windows; `VALID` adds nothing.

    Args:
        size: sites of the axis.
        window: sites of the window.
        stride: sites from one window to the next.
        padding: `"SAME"`, `"VALID"` or `"CIRCULAR"`.

    Returns:
        Sites added before and after.

    Example:
        >>> pad_widths(8, 3, 1, "SAME"), pad_widths(8, 3, 2, "SAME"), pad_widths(8, 3, 1, "VALID")
        ((1, 1), (0, 1), (0, 0))

    Source: XLA's definition of SAME. Oracle: convolutions by JAX (`tests/test_windows.py`).
    """
    name = "VALID" if padding == "VALID" else "SAME"
    ((before, after),) = jax.lax.padtype_to_pads([size], [window], [stride], name)
    return before, after


def pad_sites(values: Float[Array, "..."], axis: int, widths: tuple[int, int], padding: str) -> Float[Array, "..."]:
    r"""Values with sites added to one axis: zeros, or the other end of the axis if the padding is circular.

    Args:
        values: any array.
        axis: the axis that grows.
        widths: sites added before and after.
        padding: `"SAME"`, `"VALID"` or `"CIRCULAR"`.

    Returns:
        The array with a longer axis.

    Example:
        >>> import jax.numpy as jnp
        >>> pad_sites(jnp.array([1.0, 2.0, 3.0]), 0, (1, 1), "CIRCULAR").tolist()
        [3.0, 1.0, 2.0, 3.0, 1.0]

    Source: paper, §3 (circular padding has no border). Oracle: convolutions by JAX (`tests/test_windows.py`).
    """
    config = [(0, 0)] * values.ndim
    config[axis] = widths
    return jnp.pad(values, config, mode="wrap" if padding == "CIRCULAR" else "constant")


def window_sum(
    values: Float[Array, "..."], axes: Sequence[int], window: int, stride: int, padding: str
) -> Float[Array, "..."]:
    r"""Sums over a window that slides along several axes together.

    $$\mathrm{out}_{\dots p \dots p' \dots} = \sum_{\delta = 0}^{w - 1}
      \mathrm{values}_{\dots\, s p + \delta \,\dots\, s p' + \delta \,\dots}$$

    Along one axis it is a pooling window. Along an axis of the first input and the same axis of the second it is a
    convolution: one weight meets the same offset $\delta$ in both.

    Args:
        values: an array over sites.
        axes: the axes along which one offset moves.
        window: $w$.
        stride: $s$.
        padding: `"SAME"`, `"VALID"` or `"CIRCULAR"`.

    Returns:
        The sums; the axes have as many sites as there are windows.

    Example:
        >>> import jax.numpy as jnp
        >>> window_sum(jnp.array([1.0, 2.0, 3.0]), [0], window=2, stride=1, padding="VALID").tolist()
        [3.0, 5.0]

    Source: the convolutional kernels behind Figures S2 and 4. Oracle: convolutions by JAX (`tests/test_windows.py`).
    """
    for axis in axes:
        values = pad_sites(values, axis, pad_widths(values.shape[axis], window, stride, padding), padding)
    values = jax.lax.optimization_barrier(values)
    last = {axis: values.shape[axis] - window for axis in axes}

    def shifted(offset: int) -> Float[Array, "..."]:
        part = values
        for axis in axes:
            part = jax.lax.slice_in_dim(part, offset, offset + last[axis] + 1, stride, axis)
        return part

    return sum((shifted(offset) for offset in range(1, window)), start=shifted(0))
