"""At what rate something falls with width: the exponent of a power law, with its confidence interval over seeds."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy import stats

_Sizes = Float[np.ndarray, "..."] | Int[np.ndarray, "..."]


class PowerLaw(NamedTuple):
    r"""A power law fitted to measurements at several sizes, on several seeds.

    $$y \approx C\,n^{s}.$$

    Args:
        slope: $s$, the mean of the slopes of the seeds.
        low: lower end of its confidence interval.
        high: upper end.
        constant: $C$, of the geometric mean over seeds.

    Example:
        >>> PowerLaw(slope=-0.5, low=-0.6, high=-0.4, constant=2.0)(4)
        1.0

    Source: house code. Oracle: that of `power_law`.
    """

    slope: float
    low: float
    high: float
    constant: float

    def __call__(self, sizes: int | float | _Sizes) -> float | Float[np.ndarray, "..."]:
        """The fitted values at these sizes."""
        return self.constant * sizes**self.slope

    def __str__(self) -> str:
        return f"{self.slope:.2f} [{self.low:.2f}, {self.high:.2f}]"


def power_law(sizes: _Sizes, values: Float[np.ndarray, "..."], confidence: float = 0.95) -> PowerLaw:
    r"""Fit a power law on logarithmic axes, with a confidence interval from independent seeds.

    $$\log y_{an} = \log C_a + s_a \log n, \qquad s = \bar{s}_a \pm t_{S-1}\,\frac{\operatorname{sd}(s_a)}{\sqrt S}.$$

    Each seed has its own line, so the interval is that of a mean of independent numbers (Student's t), whatever
    the errors at neighbouring sizes have in common.

    Args:
        sizes: widths or numbers of samples, at least two.
        values: positive measurements, one row for each of at least two seeds.
        confidence: of the interval.

    Returns:
        `PowerLaw`: slope, interval, constant.

    Raises:
        ValueError: if there is one seed or one size only, or a value is not positive.

    Example:
        >>> import numpy as np
        >>> widths = np.array([16, 64, 256])
        >>> str(power_law(widths, np.array([[3.0], [5.0]]) * widths**-0.5))
        '-0.50 [-0.50, -0.50]'

    Source: house code; Student (1908). Oracle: `scipy.stats.linregress` and simulated noise (`tests/test_rates.py`).
    """
    values = np.asarray(values, float)
    if values.ndim != 2 or min(values.shape) < 2 or values.shape[1] != len(sizes) or not (values > 0).all():
        raise ValueError(
            f"power_law: expected positive values with a row for each of at least 2 seeds and a column for each of "
            f"{len(sizes)} sizes, at least 2, but came shape {values.shape} with minimum {values.min():.3g}."
        )
    slopes, constants = np.polyfit(np.log(np.asarray(sizes, float)), np.log(values).T, 1)
    slope = float(slopes.mean())
    half = float(stats.t.ppf((1 + confidence) / 2, len(slopes) - 1) * stats.sem(slopes))
    return PowerLaw(slope, slope - half, slope + half, float(np.exp(constants.mean())))
