"""One chapter, three sizes: which one runs, with which settings, and on what.

`WIDELINEAR_SCALE` is `smoke` (CI, seconds), `laptop` (the stored outputs; the default) or `paper` (the published
sizes). The code is the same for all; only the settings differ. `WIDELINEAR_SET` changes single settings of a run,
for example `WIDELINEAR_SET="last_step=8192 seed=1"`; whatever is changed is displayed and recorded.
"""

import os
import platform
from ast import literal_eval
from html import escape
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax

from widelinear.tables import html_table

SCALES = ("smoke", "laptop", "paper")


def current() -> str:
    """The scale of this process.

    Returns:
        The environment variable `WIDELINEAR_SCALE`: `"smoke"`, `"laptop"` or `"paper"`; `"laptop"` where it is not set.

    Raises:
        ValueError: if the variable names no scale.

    Example:
        >>> current() in ("smoke", "laptop", "paper")
        True

    Source: our own. Oracle: each value of the variable in turn (`tests/test_scale.py`).
    """
    scale = os.environ.get("WIDELINEAR_SCALE", "laptop")
    if scale not in SCALES:
        raise ValueError(
            f"WIDELINEAR_SCALE is {scale!r}, but the scales are smoke, laptop and paper: "
            "set it to one of these, or unset it for laptop."
        )
    return scale


class Settings(SimpleNamespace):
    """The settings of the current scale, as attributes; displayed beside those of the other two.

    Args:
        table: for each name the values for smoke, laptop and paper.

    Raises:
        ValueError: if `WIDELINEAR_SCALE` names no scale.

    Example:
        >>> Settings({"width": (64, 512, 2048)}).width in (64, 512, 2048)
        True

    Source: our own. Oracle: each scale in turn (`tests/test_scale.py`).
    """

    # A slot, so that `vars` and the repr hold the settings of this scale and nothing else.
    __slots__ = ("_column", "_table")

    def __init__(self, table: dict[str, tuple[Any, Any, Any]]) -> None:
        self._table = table
        self._column = SCALES.index(current())
        super().__init__(**{name: sizes[self._column] for name, sizes in table.items()})

    def _repr_html_(self) -> str:
        header = ["setting", *SCALES]
        header[1 + self._column] += " (this run)"
        rows = [[name, *map(str, sizes)] for name, sizes in self._table.items()]
        return html_table("Settings at the three scales", header, rows)


def choose(**settings: Any) -> Settings:
    """A page's settings at the current scale, stated once with the three sizes side by side.

    Args:
        settings: for each name a tuple `(smoke, laptop, paper)`; anything else is the same at every scale.

    Returns:
        A record with one attribute for each setting; `vars` makes it a dictionary.

    Raises:
        ValueError: if a tuple does not have three entries, `WIDELINEAR_SCALE` names no scale, or `WIDELINEAR_SET` is
            not made of `name=value` with names of settings and Python values.

    Example:
        >>> settings = choose(
        ...     #      smoke  laptop  paper
        ...     width=(64, 512, 2048),
        ...     depth=5,
        ... )
        >>> settings.depth
        5

    Source: our own. Oracle: each scale in turn (`tests/test_scale.py`).
    """
    table = {name: value if isinstance(value, tuple) else (value,) * len(SCALES) for name, value in settings.items()}
    for name, sizes in table.items():
        if len(sizes) != len(SCALES):
            raise ValueError(
                f"{name} has {len(sizes)} sizes, but a tuple holds three, (smoke, laptop, paper): "
                "state three, or a value that is not a tuple for all scales."
            )
    table |= {name: (value,) * len(SCALES) for name, value in _changes(table).items()}
    return Settings(table)


def _changes(table: dict[str, tuple[Any, Any, Any]]) -> dict[str, Any]:
    """The settings that `WIDELINEAR_SET` changes."""
    words = os.environ.get("WIDELINEAR_SET", "").split()
    try:
        changes = {name: literal_eval(value) for name, value in (word.split("=") for word in words)}
    except (ValueError, SyntaxError):
        changes = {"": None}
    if unknown := set(changes) - set(table):
        raise ValueError(
            f"WIDELINEAR_SET is {' '.join(words)!r}, but it has to be name=value with Python values and no spaces in "
            f"them ({', '.join(map(repr, unknown))} is no setting): the page's settings are {', '.join(table)}."
        )
    return changes


def checkpoint_folder(name: str) -> Path | None:
    """Where a long run of the paper's scale saves itself; shorter runs do not.

    Args:
        name: the name of the run, unique in the book.

    Returns:
        A folder in `$WIDELINEAR_CHECKPOINTS`, else in the user's cache; None at the other scales.

    Example:
        >>> checkpoint_folder("figure-3") is None or current() == "paper"
        True

    Source: our own. Oracle: each scale in turn (`tests/test_scale.py`).
    """
    if current() != "paper":
        return None
    import pooch

    return Path(os.environ.get("WIDELINEAR_CHECKPOINTS", pooch.os_cache("widelinear") / "checkpoints"), name)


def environment() -> dict[str, Any]:
    """Where this process runs: what a sceptic needs beside a measured number.

    Returns:
        `scale`, what `WIDELINEAR_SET` `changed`, `device`, `cores`, `precision`, and the `versions` of Python and of
        the packages that compute.

    Example:
        >>> sorted(environment())
        ['changed', 'cores', 'device', 'precision', 'scale', 'versions']

    Source: `jax.devices`, `importlib.metadata`. Oracle: the values set by hand (`tests/test_scale.py`).
    """
    devices = jax.devices()
    kind = devices[0].device_kind
    double, matmul = (jax.config.values[name] for name in ("jax_enable_x64", "jax_default_matmul_precision"))
    # From Python 3.13 on, the cores this process may use rather than all that the machine has.
    cores = getattr(os, "process_cpu_count", os.cpu_count)()
    packages = ("widelinear", "jax", "jaxlib", "flax", "optax", "numpy")
    return {
        "scale": current(),
        "changed": os.environ.get("WIDELINEAR_SET", ""),
        "device": kind if len(devices) == 1 else f"{len(devices)} × {kind}",
        "cores": cores,
        "precision": ("float64" if double else "float32") + (f", matmul {matmul}" if matmul else ""),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
    }


class _Line(str):
    """One line of text that a notebook displays as a small paragraph."""

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f"<p><small>{escape(self)}</small></p>"


def banner() -> str:
    """The line under a page's title: scale, device, cores, precision and versions.

    It holds no time and no date, so that two runs of one page store the same text.

    Returns:
        The line; a notebook displays it as a small paragraph.

    Raises:
        ValueError: if `WIDELINEAR_SCALE` names no scale.

    Example:
        >>> banner()  # doctest: +ELLIPSIS
        Run at the ... scale on ... with ... cores, ...; widelinear ..., jax ..., flax ..., Python ...

    Source: our own. Oracle: `environment` (`tests/test_scale.py`).
    """
    where = environment()
    versions = where["versions"]
    return _Line(
        f"Run at the {where['scale']} scale on {where['device']} with {where['cores']} cores, {where['precision']}; "
        f"widelinear {versions['widelinear']}, jax {versions['jax']}, flax {versions['flax']}, "
        f"Python {versions['python']}" + (f"; changed: {where['changed']}" if where["changed"] else "")
    )
