"""Every public name is documented in the same order, and the README's example runs."""

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import jax
import pytest

import widelinear as wl

README = Path(__file__).parents[1] / "README.md"


def public():
    """Every public class and function of every module, where it is defined."""
    for info in pkgutil.iter_modules(wl.__path__):
        module = importlib.import_module(f"widelinear.{info.name}")
        for name, value in vars(module).items():
            mine = getattr(value, "__module__", None) == module.__name__
            if mine and not name.startswith("_") and (inspect.isclass(value) or inspect.isfunction(value)):
                yield pytest.param(value, id=f"{info.name}.{name}")


@pytest.mark.parametrize("thing", list(public()))
def test_a_public_name_says_what_where_from_and_how_it_is_tested(thing):
    doc = inspect.getdoc(thing)
    order = [doc.find(part) for part in ("Example:", ">>>", "Source:", "Oracle:")]
    assert -1 not in order, "a docstring has an example that runs, a source and an oracle"
    assert order == sorted(order), "in this order"
    if inspect.isfunction(thing) and inspect.signature(thing).parameters:
        missing = [name for name in inspect.signature(thing).parameters if f"{name}:" not in doc]
        assert "Args:" in doc, "arguments are described"
        assert not missing, f"these arguments are not described: {missing}"


def test_every_name_that_is_exported_exists():
    assert [name for name in wl.__all__ if not hasattr(wl, name)] == []
    assert wl.__all__ == sorted(wl.__all__)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'linearise'"):
        _ = wl.linearise


def test_the_example_of_the_readme_runs():
    # As a reader runs it: in JAX's defaults, single precision and silent promotions included.
    with jax.enable_x64(False), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        result = doctest.testfile(str(README), module_relative=False)
    assert result.attempted > 5
    assert result.failed == 0
