"""The test helpers are tested too: a lenient comparison would make every other test worthless."""

import numpy as np
import pytest
from helpers import assert_close, relative_gap, slope


def test_a_gap_above_the_tolerance_is_named():
    with pytest.raises(AssertionError, match=r"\(1,\)"):
        assert_close(np.array([1.0, 2.0]), np.array([1.0, 2.1]), rtol=0.01)


def test_a_relative_tolerance_is_relative_to_the_expected_value():
    assert_close(np.array([1001.0]), np.array([1000.0]), rtol=1e-3)
    with pytest.raises(AssertionError):
        assert_close(np.array([1001.0]), np.array([1000.0]), atol=1e-3)


def test_nan_is_never_close():
    with pytest.raises(AssertionError):
        assert_close(np.array([np.nan]), np.array([np.nan]), atol=1.0)


def test_shapes_must_agree():
    with pytest.raises(AssertionError, match="shapes"):
        assert_close(np.zeros(2), np.zeros((2, 1)))


def test_slope_of_a_power_law_is_its_exponent():
    assert abs(slope([1, 2, 4, 8], [3, 1.5, 0.75, 0.375]) + 1) < 1e-12


def test_relative_gap_by_hand():
    assert relative_gap([3.0, 4.0], [3.0, 0.0]) == 4 / 3
