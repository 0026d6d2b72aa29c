"""Slopes: equal to SciPy's on one seed's line, with intervals that cover as often as they say."""

import numpy as np
import pytest
from scipy import stats

from widelinear.rates import power_law

WIDTHS = 2 ** np.arange(4, 11)


def noisy(rng, seeds, slope=-0.5):
    return 3.0 * WIDTHS**slope * np.exp(0.1 * rng.normal(size=(seeds, len(WIDTHS))))


def test_the_slope_is_that_of_least_squares():
    values = noisy(np.random.default_rng(0), 2)
    lines = [stats.linregress(np.log(WIDTHS), np.log(row)) for row in values]
    fit = power_law(WIDTHS, values)
    assert fit.slope == pytest.approx(np.mean([line.slope for line in lines]), rel=1e-12)
    assert fit.constant == pytest.approx(np.exp(np.mean([line.intercept for line in lines])), rel=1e-12)


def test_the_interval_covers_as_often_as_it_says():
    rng, trials = np.random.default_rng(1), 2000
    fits = [power_law(WIDTHS, noisy(rng, 4)) for _ in range(trials)]
    covered = sum(fit.low < -0.5 < fit.high for fit in fits)
    assert stats.binomtest(covered, trials, 0.95).pvalue > 1e-3


def test_what_has_no_interval_is_refused():
    for values in (np.ones((1, 7)), np.ones((3, 6)), np.zeros((3, 7)), np.full((3, 7), np.nan)):
        with pytest.raises(ValueError, match="positive values with a row for each of at least 2 seeds"):
            power_law(WIDTHS, values)
