"""environment.yml agrees with pyproject.toml and with the versions of Python that CI tests; it is not solved."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
ENVIRONMENT = (ROOT / "environment.yml").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PYTHONS = {f"3.{minor}" for minor in range(6, 30)}


def problems(environment: str) -> list[str]:
    """What a text in place of environment.yml contradicts; empty where it agrees with pyproject.toml and CI."""
    content = yaml.safe_load(environment)
    conda = [entry for entry in content["dependencies"] if isinstance(entry, str)]
    pip = [line for entry in content["dependencies"] if isinstance(entry, dict) for line in entry["pip"]]
    checks = {
        "conda-forge is not the first channel": content["channels"][:1] == ["conda-forge"],
        "conda brings more than python and pip": {re.split("[ <>=]", entry)[0] for entry in conda} == {"python", "pip"},
        "its Pythons are not those that CI tests": _pythons(conda) == _tested_pythons(),
        "it allows a Python that the package refuses": _pythons(conda) <= _allowed(PROJECT["requires-python"]),
        "pip installs something else than the package": len(pip) == 1 and pip[0].startswith("-e .["),
        "it asks for an extra that does not exist": _extras(pip) <= set(PROJECT["optional-dependencies"]),
    }
    return [problem for problem, agrees in checks.items() if not agrees]


def _allowed(specifiers: str) -> set[str]:
    return set(SpecifierSet(specifiers).filter(PYTHONS))


def _pythons(conda: list[str]) -> set[str]:
    return _allowed(next(entry for entry in conda if entry.startswith("python")).removeprefix("python"))


def _tested_pythons() -> set[str]:
    workflow = yaml.safe_load((ROOT / ".github/workflows/tests.yml").read_text())
    return set(workflow["jobs"]["cpu"]["strategy"]["matrix"]["python"])


def _extras(pip: list[str]) -> set[str]:
    return {extra for line in pip for extra in Requirement(line.replace("-e .", "widelinear")).extras}


def test_the_environment_agrees_with_the_project_and_with_ci():
    assert problems(ENVIRONMENT) == []


@pytest.mark.parametrize(
    ("right", "wrong", "problem"),
    [
        ("- conda-forge", "- defaults", "conda-forge is not the first channel"),
        ("- pip\n", "- pip\n  - jax >=0.4\n", "conda brings more than python and pip"),
        (">=3.11,<3.14", ">=3.11,<3.13", "its Pythons are not those that CI tests"),
        (">=3.11,<3.14", ">=3.10,<3.14", "it allows a Python that the package refuses"),
        ("-e .[book,test]", "widelinear[book,test]", "pip installs something else than the package"),
        ("[book,test]", "[bok,test]", "it asks for an extra that does not exist"),
    ],
)
def test_a_planted_fault_is_found(right: str, wrong: str, problem: str):
    assert right in ENVIRONMENT
    assert problem in problems(ENVIRONMENT.replace(right, wrong, 1))


@pytest.mark.parametrize("name", ["jax", "jaxlib", "flax", "optax", "matplotlib", "jupyter-book", "nbval"])
def test_the_environment_brings(name: str):
    extras = _extras(yaml.safe_load(ENVIRONMENT)["dependencies"][-1]["pip"])
    lists = [PROJECT["dependencies"], *(PROJECT["optional-dependencies"][extra] for extra in extras)]
    assert name in {Requirement(line).name for lines in lists for line in lines}


def test_the_pins_of_colab_satisfy_the_floors():
    lines = (ROOT / "requirements/colab.txt").read_text().splitlines()
    pins = dict(line.split("==") for line in lines if not line.startswith("#"))
    floors = {Requirement(line).name: Requirement(line).specifier for line in PROJECT["dependencies"]}
    assert [name for name, pin in pins.items() if pin not in floors.get(name, SpecifierSet())] == []
