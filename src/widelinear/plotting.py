"""The book's vocabulary of figures: the same thing looks the same on every page.

A trained network is a solid blue line, its linearization dashed orange, infinite-width theory a thin black line, and
what the paper measured hollow grey circles.
"""

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

NETWORK: dict[str, Any] = {"color": "#0072B2", "linestyle": "-"}
"""A trained network."""

LINEARIZED: dict[str, Any] = {"color": "#D55E00", "linestyle": "--"}
"""Its linearization, by the closed form of its own empirical kernel."""

INFINITE: dict[str, Any] = {"color": "black", "linestyle": "-", "linewidth": 0.9}
"""The theory of the infinite-width limit."""

PAPER: dict[str, Any] = {"color": "0.45", "linestyle": "", "marker": "o", "markerfacecolor": "none", "markersize": 4.5}
"""What the paper measured, read from its figures."""


ENSEMBLE: dict[str, Any] = {"color": "#0072B2", "linestyle": ":", "linewidth": 1.4}
"""Mean and two standard deviations of many networks."""

READOUT: dict[str, Any] = {"color": "#CC79A7", "linestyle": "-.", "linewidth": 1.2}
"""The NNGP, or networks of which only the readout is trained."""


def use_style() -> None:
    """Set Matplotlib's defaults to those of the book.

    Example:
        >>> use_style()
        >>> plt.rcParams["axes.spines.top"]
        False

    Source: the book's design. Oracle: none; look at the figures.
    """
    plt.style.use(files("widelinear").joinpath("widelinear.mplstyle"))  # type: ignore[arg-type]


def log_time(ax: Axes, label: str = r"time $t$ = learning rate × steps") -> None:
    """Make the horizontal axis a logarithmic time axis.

    Args:
        ax: the axes.
        label: what the axis says.

    Example:
        >>> _, ax = plt.subplots()
        >>> log_time(ax)
        >>> ax.get_xscale()
        'log'

    Source: the time axes of the paper's figures. Oracle: none; look at the figures.
    """
    ax.set_xscale("log")
    ax.set_xlabel(label)
    ax.xaxis.set_minor_formatter(NullFormatter())


def width_colors(widths: Sequence[int] | np.ndarray) -> dict[int, Any]:
    """A colour for each width, from light for narrow to dark for wide: the same scale on every page.

    Args:
        widths: in increasing order.

    Returns:
        Matplotlib colours by width.

    Example:
        >>> list(width_colors([16, 64]))
        [16, 64]

    Source: the book's design. Oracle: none; look at the figures.
    """
    shades = plt.get_cmap("viridis_r")(np.linspace(0.15, 0.95, len(widths)))
    return dict(zip(np.asarray(widths).tolist(), shades, strict=True))


def slope_guide(ax: Axes, sizes: Sequence[int] | np.ndarray, start: float, slope: float) -> None:
    """Draw a grey line of a given slope on logarithmic axes, labelled with it.

    Args:
        ax: the axes, logarithmic both ways.
        sizes: where the line begins and ends; only the first and the last count.
        start: its height at the first.
        slope: its exponent.

    Example:
        >>> _, ax = plt.subplots()
        >>> slope_guide(ax, [16, 1024], 1.0, -0.5)
        >>> float(ax.lines[0].get_ydata()[-1])
        0.125

    Source: the guides of the paper's figures. Oracle: the example.
    """
    ends = np.asarray(sizes, float)[[0, -1]]
    heights = start * (ends / ends[0]) ** slope
    ax.plot(ends, heights, color="0.7", linewidth=1.5, zorder=0)
    name = {-0.5: r"$n^{-1/2}$", -1.0: r"$n^{-1}$"}.get(slope, f"slope {slope:g}")
    ax.annotate(name, (ends[1], heights[1]), textcoords="offset points", xytext=(4, -3), color="0.45")
