"""What several tests need: a close comparison that says where, a power law's slope, an odd function, eight devices."""

import math
import os
import subprocess
import sys
import textwrap

import numpy as np


def assert_close(actual, expected, *, rtol=0.0, atol=0.0):
    """Entry by entry |actual − expected| ≤ atol + rtol·|expected|; the message names the worst entry."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape, f"shapes differ: {actual.shape} and {expected.shape}"
    gap = np.abs(actual - expected)
    excess = gap - (atol + rtol * np.abs(expected))
    worst = tuple(map(int, np.unravel_index(np.argmax(excess), excess.shape)))
    assert (excess <= 0).all(), f"at {worst}: {actual[worst]!r} is not {expected[worst]!r} (gap {gap[worst]:.3g})"


def relative_gap(actual, expected):
    """‖actual − expected‖ / ‖expected‖, over all entries."""
    return float(np.linalg.norm(np.asarray(actual) - np.asarray(expected)) / np.linalg.norm(np.asarray(expected)))


def slope(x, y):
    """The exponent of a power law y ∝ x^slope, by least squares on the logarithms."""
    return float(np.polyfit(np.log(np.asarray(x, float)), np.log(np.asarray(y, float)), 1)[0])


def sine_excess(theta):
    """sin θ − θ cos θ by its power series, which does not cancel at small angles as the formula does."""
    return sum((-1) ** (k + 1) * 2 * k / math.factorial(2 * k + 1) * theta ** (2 * k + 1) for k in range(1, 20))


class Unhashable:
    """A function that cannot be a key of a dictionary, as an instance of a dataclass with a `__call__` cannot."""

    __hash__ = None

    def __init__(self, function):
        self.function = function

    def __call__(self, *args):
        return self.function(*args)


def on_eight_devices(script):
    """What a script prints that runs in a process of its own, with eight virtual devices; other XLA flags stay."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8"
    program = [sys.executable, "-c", textwrap.dedent(script)]
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    ran = subprocess.run(program, env=environment, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout
