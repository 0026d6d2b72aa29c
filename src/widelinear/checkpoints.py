"""Long runs survive a kill: their state is saved atomically, and only ever resumed by the same run."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

State = Any


def fingerprint(program: str, *inputs: Any) -> str:
    """A name for a computation: equal for the same program on the same inputs, different otherwise.

    Args:
        program: the text of the compiled program; it holds every constant, a learning rate for example.
        inputs: pytrees of arrays that the program starts from.

    Returns:
        64 hexadecimal digits.

    Example:
        >>> import numpy as np
        >>> fingerprint("f", np.zeros(2)) == fingerprint("f", np.ones(2))
        False

    Source: SHA-256. Oracle: a changed learning rate or input is refused (`tests/test_checkpoints.py`).
    """
    digest = hashlib.sha256(program.encode())
    for leaf in jax.tree.leaves(inputs):
        digest.update(np.ascontiguousarray(leaf).tobytes())
    return digest.hexdigest()


def owned_folder(folder: str | Path, run: str) -> Path:
    """The folder of one run, made if it does not exist.

    Args:
        folder: where.
        run: the run's `fingerprint`.

    Returns:
        Its absolute path.

    Raises:
        ValueError: if the folder holds another run.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     owned_folder(f"{parent}/figure", "run").name
        'figure'

    Source: house code. Oracle: a changed learning rate or input is refused (`tests/test_checkpoints.py`).
    """
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    owner = folder / "run"
    if owner.exists() and owner.read_text() != run:
        raise ValueError(
            f"{folder.name}: the checkpoint must be of this run, but it was made with other settings, data, code "
            "or versions; continue with those, or remove the folder to start again."
        )
    owner.write_text(run)
    return folder


def saved_or_computed(file: Path, compute: Callable[[], State], like: State) -> State:
    """Arrays that an earlier run left in a file; else they are computed and written, whole or not at all.

    Args:
        file: where, with the ending `.npz`.
        compute: makes the arrays, a pytree.
        like: a pytree of the same structure.

    Returns:
        The arrays.

    Example:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     first = saved_or_computed(Path(folder, "a.npz"), lambda: [np.ones(2)], [0])
        ...     again = saved_or_computed(Path(folder, "a.npz"), lambda: [np.zeros(2)], [0])
        >>> again[0].tolist()
        [1.0, 1.0]

    Source: a file is written beside its place and renamed. Oracle: a run that was stopped (`tests/test_members.py`).
    """
    leaves, structure = jax.tree.flatten(like)
    if file.exists():
        with np.load(file) as saved:
            return jax.tree.unflatten(structure, [saved[f"arr_{i}"] for i in range(len(leaves))])
    state = jax.device_get(compute())
    unfinished = file.with_name(f"unfinished-{file.name}")
    np.savez(unfinished, *jax.tree.leaves(state))
    unfinished.replace(file)
    return state


class Checkpoints:
    """A folder that holds the newest saved state of one run.

    Args:
        folder: where; made if it does not exist.
        run: the run's `fingerprint`.
        every: seconds between two saves.

    Raises:
        ValueError: if the folder holds another run.

    Example:
        >>> import tempfile, numpy as np
        >>> with tempfile.TemporaryDirectory() as folder, Checkpoints(folder, "run", every=0.0) as checkpoints:
        ...     checkpoints.save(3, {"w": np.ones(2)})
        ...     step, state = checkpoints.restore({"w": np.zeros(2)})
        >>> step, state["w"].tolist()
        (3, [1.0, 1.0])

    Source: orbax writes each save beside the last and renames it. Oracle: `kill -9` (`tests/test_checkpoints.py`).
    """

    def __init__(self, folder: str | Path, run: str, every: float) -> None:
        import orbax.checkpoint as ocp

        folder = owned_folder(folder, run)
        self._manager = ocp.CheckpointManager(folder, options=ocp.CheckpointManagerOptions(max_to_keep=1))
        self._every, self._saved_at = every, time.monotonic()

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._manager.close()

    def restore(self, like: State) -> tuple[int, State]:
        """The newest saved step and state, with the structure of `like`; (0, `like`) where nothing was saved."""
        import orbax.checkpoint as ocp

        step = self._manager.latest_step()
        if step is None:
            return 0, like
        return step, self._manager.restore(step, args=ocp.args.StandardRestore(like))

    def save(self, step: int, state: State, *, last: bool = False) -> None:
        """Save if `every` seconds have passed, or if this is the last step."""
        import orbax.checkpoint as ocp

        if not last and time.monotonic() - self._saved_at < self._every:
            return
        self._manager.save(step, args=ocp.args.StandardSave(state))
        self._manager.wait_until_finished()
        self._saved_at = time.monotonic()


class NoCheckpoints:
    """The same for a run that is not to be saved.

    Example:
        >>> with NoCheckpoints() as checkpoints:
        ...     checkpoints.restore("fresh")
        (0, 'fresh')

    Source: house code. Oracle: `tests/test_checkpoints.py`.
    """

    def __enter__(self) -> "NoCheckpoints":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def restore(self, like: State) -> tuple[int, State]:
        """Always a fresh start."""
        return 0, like

    def save(self, step: int, state: State, *, last: bool = False) -> None:
        """Nothing is saved."""
