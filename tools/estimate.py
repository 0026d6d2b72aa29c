"""What a page costs at its published size, on a machine that cannot run it.

The page's own code is run with `jax.jit` replaced: a program that takes long is traced and compiled, but not called.
Its operations and its memory are noted, and the page goes on with stand-ins for its results.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import jax
import numpy as np

from tools.notebooks import code_cells, read
from tools.operations import operations

LIGHT = 3e10  # operations that are done here: a second or so
GPU = 1e13  # operations in a second: half of what an A100 reaches without its tensor cores
MEMORY = 80  # gigabytes of the same


class Cost(NamedTuple):
    """What was found out about one page: a line of the table."""

    page: str
    programs: int  # that were traced and not run
    gigabytes: float  # of the largest: arguments, results and temporary arrays
    operations: float  # of all
    stopped: str  # where the stand-ins could not go on; empty for a page that was traced to its end

    @property
    def hours(self) -> float:
        """On one GPU."""
        return self.operations / GPU / 3600


def estimate_apart(page: Path) -> Cost:
    """The same in a process of its own, which imports the library with `jax.jit` replaced."""
    command = [sys.executable, "-m", __name__, str(page)]
    answer = subprocess.run(command, cwd=Path(__file__).parents[1], stdout=subprocess.PIPE, check=True).stdout
    return Cost(**json.loads(answer))


class _Heavy:
    """`jax.jit`, but a program that takes long is not called."""

    def __init__(self, function: Callable[..., Any], found: list[tuple[float, float]], **options: Any) -> None:
        self._jitted, self._found = _JIT(function, **options), found

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        leaves = jax.tree.leaves((args, kwargs))
        if any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return self._jitted(*args, **kwargs)
        traced = self._jitted.trace(*args, **kwargs)
        flat = leaves if len(leaves) == len(traced.jaxpr.jaxpr.invars) else [None] * len(traced.jaxpr.jaxpr.invars)
        cost = operations(traced.jaxpr, flat)
        if cost < LIGHT:
            return self._jitted(*args, **kwargs)
        memory = traced.lower().compile().memory_analysis()
        size = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
        self._found.append((cost, size / 1e9))
        return _stand_ins(traced.out_info, flat, seed=zlib.crc32(traced.fun_name.encode()))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._jitted, name)

    def lower(self, *args: Any, **kwargs: Any) -> "_Lowered":
        return _Lowered(self, self._jitted.lower(*args, **kwargs))


class _Lowered:
    """A lowered program, whose compiled form is `_Heavy` again."""

    def __init__(self, heavy: _Heavy, lowered: Any) -> None:
        self._heavy, self._lowered = heavy, lowered

    def compile(self) -> _Heavy:
        return self._heavy

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lowered, name)


_JIT = jax.jit


def estimate(page: Path) -> Cost:
    """Run a page in this process, at the published size, without what takes long.

    Args:
        page: a notebook.

    Returns:
        Its cost. What of the library was imported before keeps `jax.jit` and is run: see `estimate_apart`.
    """
    found: list[tuple[float, float]] = []
    stopped = ""
    with _prepared(page, found):
        names: dict[str, Any] = {"__name__": "__main__"}
        for cell in code_cells(read(page)):
            try:
                exec(compile(cell.source, cell.id, "exec"), names)
            except Exception as error:
                if type(error).__name__ == "ClaimFailed":  # of course: the numbers are stand-ins
                    break
                stopped = f"cell {cell.id}: {type(error).__name__}: {error}"
                break
    return Cost(
        page.stem, len(found), max((size for _, size in found), default=0.0), sum(cost for cost, _ in found), stopped
    )


@contextlib.contextmanager
def _prepared(page: Path, found: list[tuple[float, float]]) -> Iterator[None]:
    """`jax.jit` replaced before the library is imported; nothing is shown or printed, no checkpoint is left."""

    def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
        return partial(jit, **options) if function is None else _Heavy(function, found, **options)

    with contextlib.ExitStack() as changed:
        folder = changed.enter_context(tempfile.TemporaryDirectory())
        variables = {"WIDELINEAR_SCALE": "paper", "WIDELINEAR_CHECKPOINTS": folder, "MPLBACKEND": "agg"}
        changed.enter_context(mock.patch.dict(os.environ, variables))
        changed.enter_context(mock.patch("jax.jit", jit))
        # Or a long run would be called in many short pieces.
        changed.enter_context(mock.patch("widelinear.training.SECONDS_PER_CHUNK", 1e9))
        changed.enter_context(mock.patch("widelinear.power_law", _fitted))
        # A GPU's loops hold convolutions, where a CPU's hold nine copies of every image.
        changed.enter_context(mock.patch("widelinear.layers.by_patches", return_value=False))
        for module in ("training", "members"):  # rates that are right for stand-ins need not be right for networks
            changed.enter_context(mock.patch(f"widelinear.{module}._check_finite"))
        changed.enter_context(contextlib.chdir(page.parent))
        changed.enter_context(contextlib.redirect_stdout(io.StringIO()))
        yield


def _stand_ins(outputs: Any, arguments: list[Any], seed: int) -> Any:
    """Arguments where they have the shapes of the results, as parameters have; else what is drawn.

    A program draws the same numbers in each call: gradients of fewer inputs are the first rows of those of more.
    """
    leaves, structure = jax.tree.flatten(outputs)
    known = arguments[: len(leaves)]
    if list(map(_kind, leaves)) != list(map(_kind, known)):
        known = [None] * len(leaves)
    rngs = (np.random.default_rng((seed, number)) for number in range(len(leaves)))
    results = [a if _filled(a) else jax.numpy.asarray(_drawn(*of)) for a, *of in zip(known, rngs, leaves, strict=True)]
    return jax.tree.unflatten(structure, results)


def _filled(argument: Any) -> bool:
    """Whether there is one, and it is not a matrix of zeros that the program is to fill."""
    return argument is not None and (argument.ndim != 2 or bool(argument.any()))


def _drawn(rng: np.random.Generator, leaf: Any) -> np.ndarray:
    """Numbers between 1/2 and 1; or a kernel, where the shape is that of one."""
    match leaf.shape:
        case (rows, columns, k, also_k) if k == also_k:
            values = _kernel(rng, rows, columns, k)
        case (n, also_n) if n == also_n:
            values = _kernel(rng, n, n, 1)[:, :, 0, 0]
        case _:
            values = rng.uniform(0.5, 1.0, leaf.shape)
    return values.astype(leaf.dtype, copy=False)


def _kernel(rng: np.random.Generator, rows: int, columns: int, k: int) -> np.ndarray:
    """Of inputs with the first of them, for k outputs; with themselves it is symmetric and positive definite.

    Its eigenvalues are like those of a tangent kernel, where they say how long training takes: one is of order one, all
    others are one over the number of inputs.
    """
    n = max(rows, columns)
    common = rng.uniform(0.7, 1.0, (n, k)) / (n * k) ** 0.5
    identity = np.eye(rows, columns)[:, :, None, None] * np.eye(k) / n
    return identity + common[:rows, None, :, None] * common[None, :columns, None, :]


def _fitted(sizes: Any, values: Any, *others: Any) -> Any:
    """`power_law`, which takes neither zeros nor infinities: stand-ins may be equal, and training on them diverges."""
    from widelinear.rates import power_law

    return power_law(sizes, np.nan_to_num(np.clip(values, 1e-9, 1e9), nan=1e9), *others)


def _kind(leaf: Any) -> tuple[Any, Any]:
    return getattr(leaf, "shape", None), getattr(leaf, "dtype", None)


if __name__ == "__main__":
    print(json.dumps(estimate(Path(sys.argv[1]))._asdict()))
