"""The one progress bar of the library."""

import os
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress(
    label: str, items: Iterable[Any] | None = None, *, total: int | None = None, initial: int = 0, unit: str = "step"
) -> "tqdm[Any]":
    """Show how far we are, and the time left, once something has taken more than 5 seconds.

    Args:
        label: what is being done, in a few words.
        items: what to go through; without it, call `update(count)` on the result.
        total: how many items; by default `len(items)`.
        initial: how many were done before.
        unit: the name of one item.

    Returns:
        A tqdm bar: an iterator over the items, and a context manager.

    Example:
        >>> list(progress("counting", range(3)))
        [0, 1, 2]

    Source: house rule: a bar on anything over 5 seconds. Oracle: it changes nothing (`tests/test_progress.py`).
    """
    from tqdm import tqdm

    # A page that is executed for the book must not store a bar: it goes past the notebook, to the terminal if any.
    past_notebook = os.environ.get("WIDELINEAR_PROGRESS") == "terminal"
    where = {"file": sys.__stderr__, "disable": None} if past_notebook else {}
    return tqdm(items, desc=label, total=total, initial=initial, unit=unit, delay=5, leave=False, **where)
