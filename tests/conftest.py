"""All tests run in double precision, and with JAX's silent promotions made errors.

Nothing here imports widelinear: jaxtyping hooks its modules only after this file has been read.
"""

import os

import hypothesis
import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_numpy_dtype_promotion", "strict")

# Compilation takes longer than hypothesis allows an example; a fixed seed makes a failure in CI the same here.
hypothesis.settings.register_profile("widelinear", deadline=None, derandomize=True)
hypothesis.settings.load_profile("widelinear")

# Tests choose their own scale, and leave no records.
for variable in ("WIDELINEAR_SCALE", "WIDELINEAR_RESULTS", "WIDELINEAR_COMMIT"):
    os.environ.pop(variable, None)


@pytest.fixture
def key():
    """One key for a test, to be split where it is used."""
    return jax.random.key(0)


def pytest_runtest_setup(item):
    """Skip what reads real images where nobody says where they are."""
    if item.get_closest_marker("realdata") and not os.environ.get("WIDELINEAR_DATA"):
        pytest.skip("set WIDELINEAR_DATA to a folder that holds CIFAR-10 and MNIST")
