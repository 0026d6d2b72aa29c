"""Claims, not prose: a page states what it measured and the bound it had to meet, and fails where it did not.

A *control* is a claim that is expected not to hold: it shows that the bound can be broken.
"""

import json
import math
import os
import re
import textwrap
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from jax.typing import ArrayLike

from widelinear.scale import SCALES, environment
from widelinear.tables import html_table, text_table

HEADER = ("claim", "sentence", "paper", "measured", "bound", "verdict")

_IMPORTED = time.perf_counter()


class ClaimFailed(AssertionError):  # noqa: N818 (reads as the sentence it is)
    """A claim does not hold, or a control does.

    Example:
        >>> issubclass(ClaimFailed, AssertionError)
        True

    Source: our own. Oracle: claims made to fail (`tests/test_claims.py`).
    """


@dataclass(frozen=True)
class Claim:
    """One statement, what was measured, and the bound it has to meet; made by `claim`.

    It holds where `low < measured < high` and the measured number is finite.

    Args:
        id, sentence, paper, source, measured, control: as in `claim`.
        low: bound from below; minus infinity where there is none.
        high: bound from above; infinity where there is none.

    Example:
        >>> Claim("T1", "They agree.", "exact", "eq. 8", 1e-12, float("-inf"), 1e-8, False).verdict
        'holds'

    Source: our own. Oracle: every kind of bound, from both sides (`tests/test_claims.py`).
    """

    id: str
    sentence: str
    paper: float | str
    source: str
    measured: float
    low: float
    high: float
    control: bool

    @property
    def bound(self) -> str:
        """The bound in words."""
        if math.isinf(self.low):
            return f"below {self.high:.6g}"
        if math.isinf(self.high):
            return f"above {self.low:.6g}"
        return f"between {self.low:.6g} and {self.high:.6g}"

    @property
    def verdict(self) -> str:
        """`holds` or `FAILS`; for a control `fails as expected` or `holds UNEXPECTEDLY`."""
        if not math.isfinite(self.measured):
            return "FAILS"
        if self.low < self.measured < self.high:
            return "holds UNEXPECTEDLY" if self.control else "holds"
        return "fails as expected" if self.control else "FAILS"

    @property
    def as_stated(self) -> bool:
        """Whether the verdict is the one that the page states."""
        return self.verdict in ("holds", "fails as expected")

    @property
    def cells(self) -> tuple[str, ...]:
        """Six texts: id, sentence, paper's value and source, measured value, bound, verdict."""
        paper = self.paper if isinstance(self.paper, str) else f"{self.paper:.4g}"
        return (self.id, self.sentence, f"{paper} ({self.source})", f"{self.measured:.3g}", self.bound, self.verdict)


def claim(
    id: str,
    sentence: str,
    *,
    paper: float | str,
    source: str,
    measured: ArrayLike,
    below: float | None = None,
    above: float | None = None,
    between: tuple[float, float] | None = None,
    control: bool = False,
) -> Claim:
    """State one claim: what the paper says, what was measured, and the bound it has to meet.

    Args:
        id: the theorem or figure it belongs to, for example `"T1"` or `"F3-ratio"`; unique on its page.
        sentence: what is claimed, in words.
        paper: the paper's value, a number or a word.
        source: where the paper says so.
        measured: our number: a float or an array of shape `()`.
        below: the claim holds where the measured number is smaller than this.
        above: the claim holds where the measured number is larger than this.
        between: the claim holds where the measured number lies strictly between these two.
        control: whether the claim is expected *not* to hold.

    Returns:
        The claim, for `check_claims`.

    Raises:
        ValueError: if not exactly one bound is given, a bound is not finite or empty, or an array is measured.

    Example:
        >>> claim("F3-ratio", "The ratio is large.", paper=2.04, source="Figure 3", measured=1.8, above=1.2).verdict
        'holds'

    Source: our own. Oracle: every kind of bound, from both sides (`tests/test_claims.py`).
    """
    if [below, above, between].count(None) != 2:
        raise ValueError(f"claim {id} needs exactly one bound: give one of below=, above= and between=.")
    low, high = between or (-math.inf if above is None else above, math.inf if below is None else below)
    if not low < high or not any(map(math.isfinite, (low, high))):
        raise ValueError(
            f"claim {id} is bounded by {low} and {high}, which every number or none meets: correct the bound."
        )
    number = np.asarray(measured)
    if number.ndim:
        raise ValueError(f"claim {id} measures one number, but got an array of shape {number.shape}: reduce it.")
    return Claim(id, sentence, paper, source, float(number), float(low), float(high), control)


@dataclass(frozen=True)
class Record:
    """The claims of one page at one scale, with all that is needed to repeat them.

    Displayed, it is a table of the claims; printed `verdicts` are the same at every scale.

    Args:
        page: the file name of the chapter, without its ending.
        claims: the claims, in the page's order.
        settings: the page's settings at this scale.
        curves: what the page's figures drew, by name, so that another scale can draw it beside its own.
        data: name, checksum and officialness of the data; empty where none was named.
        environment: scale, device, cores, precision and versions, from `scale.environment`.
        commit: the commit that was run, with `-dirty` after it where files had changed; None where nobody said.
        seconds: from the import of this module, which a page does first, to its claims.
        date: the day, in UTC.

    Example:
        >>> Record("01-page", (), {}, {}, {}, {"scale": "smoke"}, None, 1.0, "2026-01-31").scale
        'smoke'

    Source: our own. Oracle: a record read back equals the one written (`tests/test_claims.py`).
    """

    page: str
    claims: tuple[Claim, ...]
    settings: dict[str, Any]
    data: dict[str, Any]
    curves: dict[str, list[float]]
    environment: dict[str, Any]
    commit: str | None
    seconds: float
    date: str

    @property
    def scale(self) -> str:
        """The scale it was measured at."""
        return str(self.environment["scale"])

    @property
    def verdicts(self) -> str:
        """One line for each claim, its id and verdict: what a cell can print and nbval compare."""
        return text_table([(claim.id, claim.verdict) for claim in self.claims])

    @property
    def summary(self) -> str:
        """How many claims have which verdict."""
        counts = Counter(claim.verdict for claim in self.claims)
        plural = {verdict: re.sub("s", "", verdict, count=1, flags=re.IGNORECASE) for verdict in counts}
        return ", ".join(f"{n} {verdict if n == 1 else plural[verdict]}" for verdict, n in counts.items())

    def __repr__(self) -> str:
        rows = [(id, textwrap.shorten(sentence, 60, placeholder=" …"), *rest) for id, sentence, *rest in self._rows]
        return f"{self._caption}\n{text_table([HEADER, *rows])}"

    def _repr_html_(self) -> str:
        return html_table(self._caption, HEADER, self._rows)

    @property
    def _rows(self) -> list[tuple[str, ...]]:
        return [claim.cells for claim in self.claims]

    @property
    def _caption(self) -> str:
        return f"Claims of {self.page} at the {self.scale} scale: {self.summary}"

    def write(self, folder: Path) -> Path:
        """Write the record as JSON, whole or not at all.

        Args:
            folder: where; made if it does not exist.

        Returns:
            The file, `<page>.<scale>.json`.
        """
        fields = asdict(self)
        for row, claim in zip(fields["claims"], self.claims, strict=True):
            # JSON knows no infinity: such numbers are written as words. Bound and verdict are for other readers.
            row |= {name: _word(row[name]) for name in ("measured", "low", "high")}
            row |= {"bound": claim.bound, "verdict": claim.verdict}
        fields["curves"] = {name: [_word(value) for value in curve] for name, curve in self.curves.items()}
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self.page}.{self.scale}.json"
        partial = file.with_suffix(".partial")
        partial.write_text(json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")
        return partial.replace(file)


def _word(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)


def read_records(folder: Path) -> list[Record]:
    """Read all records of a folder.

    Verdicts are not read but follow from the measured numbers.

    Args:
        folder: holds files `<page>.<scale>.json`, and perhaps others.

    Returns:
        The records, by page and then from the smallest scale to the largest.

    Example:
        >>> import tempfile
        >>> read_records(Path(tempfile.mkdtemp()))
        []

    Source: our own. Oracle: a record read back equals the one written (`tests/test_claims.py`).
    """
    records = [_read(file) for scale in SCALES for file in folder.glob(f"*.{scale}.json")]
    return sorted(records, key=lambda record: (record.page, SCALES.index(record.scale)))


def stored_record(page: str, scale: str) -> Record | None:
    """The record that the project keeps of a page at a scale, to draw beside what runs now.

    Args:
        page: the file name of the chapter, without its ending.
        scale: `"smoke"`, `"laptop"` or `"paper"`.

    Returns:
        The record in `results/claims`, beside the folder of chapters; None where there is none, as on Colab.

    Example:
        >>> stored_record("no-such-page", "paper") is None
        True

    Source: our own. Oracle: a record read back equals the one written (`tests/test_claims.py`).
    """
    file = Path("..", "results", "claims", f"{page}.{scale}.json")
    return _read(file) if file.exists() else None


def _read(file: Path) -> Record:
    fields = json.loads(file.read_text())
    claims = []
    for row in fields.pop("claims"):
        del row["bound"], row["verdict"]
        claims.append(Claim(**row | {name: float(row[name]) for name in ("measured", "low", "high")}))
    curves = {name: [float(value) for value in curve] for name, curve in fields.pop("curves").items()}
    return Record(claims=tuple(claims), curves=curves, **fields)


def check_claims(
    page: str,
    claims: Sequence[Claim],
    *,
    settings: SimpleNamespace | None = None,
    data: object = None,
    curves: Mapping[str, ArrayLike] | None = None,
) -> Record:
    """Display a page's claims as a table, record them, and fail if one is not as stated.

    The record is written only where the environment variable `WIDELINEAR_RESULTS` names a folder, as the tool that
    executes the book does; its commit is the value of `WIDELINEAR_COMMIT`.

    Args:
        page: the file name of the chapter, without its ending.
        claims: the claims, in the page's order.
        settings: the page's settings, from `scale.choose`.
        data: anything with attributes `name`, `checksum` and `official`, for example a data set of `widelinear.data`.
        curves: one-dimensional arrays to keep with the claims, by name.

    Returns:
        The record; print its `verdicts` in a cell of their own.

    Raises:
        ValueError: if there is no claim, or two with one id.
        ClaimFailed: if a claim does not hold, or a control does; the message holds the measured number and the bound.

    Example:
        >>> record = check_claims(
        ...     "01-page", [claim("T1", "They agree.", paper="exact", source="eq. 8", measured=1e-12, below=1e-8)]
        ... )  # doctest: +ELLIPSIS
        Claims of 01-page at the ... scale: 1 holds
        claim  sentence     paper          measured  bound        verdict
        T1     They agree.  exact (eq. 8)  1e-12     below 1e-08  holds
        >>> print(record.verdicts)
        T1  holds

    Source: our own. Oracle: claims made to fail, records read back (`tests/test_claims.py`).
    """
    ids = [claim.id for claim in claims]
    if not ids or len(set(ids)) < len(ids):
        raise ValueError(f"{page} needs claims with ids of their own, but got {ids}: name each claim once.")
    record = Record(
        page=page,
        claims=tuple(claims),
        settings=vars(settings) if settings is not None else {},
        data={name: getattr(data, name) for name in ("name", "checksum", "official")} if data is not None else {},
        curves={name: np.asarray(curve, float).tolist() for name, curve in (curves or {}).items()},
        environment=environment(),
        commit=os.environ.get("WIDELINEAR_COMMIT"),
        seconds=round(time.perf_counter() - _IMPORTED, 1),
        date=datetime.now(UTC).date().isoformat(),
    )
    _display(record)
    if folder := os.environ.get("WIDELINEAR_RESULTS"):
        record.write(Path(folder))
    if failed := [claim for claim in claims if not claim.as_stated]:
        raise ClaimFailed("\n".join(_complaint(claim) for claim in failed))
    return record


def _display(record: Record) -> None:
    try:
        from IPython.display import display
    except ImportError:
        print(record)
    else:
        display(record)


def _complaint(claim: Claim) -> str:
    expected = "a control is not to be" if claim.control else "it has to be"
    return f"{claim.id} {claim.verdict}: measured {claim.measured:.6g}, {expected} {claim.bound} ({claim.sentence})"
