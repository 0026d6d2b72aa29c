"""Long runs survive a kill: their state is saved atomically, and only ever resumed by the same run."""

import hashlib
import time
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

        folder = Path(folder).absolute()
        folder.mkdir(parents=True, exist_ok=True)
        owner = folder / "run"
        if owner.exists() and owner.read_text() != run:
            raise ValueError(
                f"{folder.name}: the checkpoint must be of this run, but it was made with other settings, data, code "
                "or versions; continue with those, or remove the folder to start again."
            )
        owner.write_text(run)
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
