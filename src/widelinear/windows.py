r"""Sums over sliding windows: what convolution and pooling do to a kernel.

At infinite width a convolution leaves of its weights only the window: the covariance of two sites becomes the mean of
the covariances of all sites that one weight meets at once. Windows are separable, so the sum runs axis by axis.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PADDINGS = ("SAME", "VALID", "CIRCULAR")
_IN_A_LOOP = ContextVar("in_a_loop", default=False)


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


def pad_windows(
    x: Float[Array, "n *sites d"], windows: Sequence[tuple[int, int]], padding: str
) -> Float[Array, "n *padded d"]:
    """Images with what a padding adds to every site axis.

    Args:
        x: images, with channels last.
        windows: size and stride along each site axis.
        padding: `"SAME"`, `"VALID"` or `"CIRCULAR"`.

    Returns:
        The images with longer site axes, over which windows move as `"VALID"` lets them.

    Example:
        >>> import jax.numpy as jnp
        >>> pad_windows(jnp.array([[[1.0], [2.0], [3.0]]]), [(3, 1)], "CIRCULAR").ravel().tolist()
        [3.0, 1.0, 2.0, 3.0, 1.0]

    Source: that of `pad_sites`. Oracle: convolutions by JAX (`tests/test_windows.py`).
    """
    for axis, (size, stride) in enumerate(windows, start=1):
        x = pad_sites(x, axis, pad_widths(x.shape[axis], size, stride, padding), padding)
    return x


def patches(
    x: Float[Array, "n *sites d"], windows: Sequence[tuple[int, int]], padding: str
) -> Float[Array, "n *windows size"]:
    r"""What each window of a convolution sees: the channels of its sites, one after the other.

    $$\mathrm{out}_p = (x_{s p + \delta})_{\delta \in \Delta}, \qquad h_p = \mathrm{out}_p\,\omega .$$

    A convolution is then a matrix product.

    Args:
        x: images, with channels last.
        windows: size and stride along each site axis.
        padding: `"SAME"`, `"VALID"` or `"CIRCULAR"`.

    Returns:
        One row of size × channels numbers for each window.

    Example:
        >>> import jax.numpy as jnp
        >>> patches(jnp.array([[[1.0], [2.0], [3.0]]]), [(2, 1)], "VALID").tolist()
        [[[1.0, 2.0], [2.0, 3.0]]]

    Source: the convolutions of Figures S2, S5 and 4. Oracle: convolutions by JAX (`tests/test_windows.py`).
    """
    x = pad_windows(x, windows, padding)
    for axis, (size, stride) in reversed(list(enumerate(windows, start=1))):
        last = x.shape[axis] - size
        x = jnp.concatenate(
            [jax.lax.slice_in_dim(x, first, first + last + 1, stride, axis) for first in range(size)], axis=-1
        )
    return x


@contextmanager
def convolutions_in_a_loop() -> Iterator[None]:
    """Within, convolutions that are traced for a CPU become products of patches and weights.

    On a CPU, XLA's own are fast outside of its loops. Inside one their derivatives fall back to scalar code, many times
    slower; and only who traces the body of a loop knows that it is one.

    Example:
        >>> import jax
        >>> with convolutions_in_a_loop():
        ...     by_patches() == (jax.default_backend() == "cpu")
        True

    Source: house code. Oracle: outputs and gradients of both ways (`tests/test_windows.py`).
    """
    token = _IN_A_LOOP.set(jax.default_backend() == "cpu")
    try:
        yield
    finally:
        _IN_A_LOOP.reset(token)


def by_patches() -> bool:
    """Whether a convolution that is traced now is a product of patches and weights.

    Example:
        >>> by_patches()
        False

    Source: house code. Oracle: that of `convolutions_in_a_loop`.
    """
    return _IN_A_LOOP.get()


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
