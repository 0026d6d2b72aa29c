"""The book's vocabulary of figures: the same thing looks the same on every page.

A trained network is a solid blue line, its linearization dashed orange, infinite-width theory a thin black line, and
what the paper measured hollow grey circles.
"""

from importlib.resources import files
from typing import Any

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
