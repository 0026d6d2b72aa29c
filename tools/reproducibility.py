"""The page that says what the book ran on, how long its pages take, and how to run them again at any size."""

from collections.abc import Iterable, Sequence

from tools.estimate import Cost
from tools.ledger import cost_line, table
from widelinear.claims import Record
from widelinear.scale import SCALES

_OPENING = """\
---
myst:
  html_meta:
    description: What the book ran on, how long each page takes, and the commands that run it again at any size.
---

# Reproducibility

What the outputs of this book were made with, how long its pages take, and the commands that make them again. What was
measured is in the {doc}`ledger <ledger>`. `make refresh` makes this page from the records that the chapters write as
they run.

## Repeat it

From a checkout of the repository, with Python 3.11 or newer and `make`:

```console
make reproduce                          # every chapter in small, and the book from that run
make reproduce SCALE=laptop             # the size that the book shows
make reproduce SCALE=laptop CHAPTER=05  # one page of it
make test                               # all checks, which run every chapter in small, too
```

The first of these makes the environment in `.venv`. `SET="width=128 seed=1"` changes settings of a page for one run;
what is changed is printed on the page and recorded. `make seeds` runs the pages on five fresh seeds. Data are found in
`$WIDELINEAR_DATA`, or downloaded once, over https and with checksums, into the user's cache.
"""

_PUBLISHED = """
## The published size

```console
make cost CHAPTER=08                    # what it would cost: traced here, not run
make reproduce SCALE=paper CHAPTER=08   # run it, on a GPU: install .[cuda12] or .[cuda13] into .venv first
```

Long runs save themselves in `$WIDELINEAR_CHECKPOINTS`, else in the user's cache, and continue after a kill.
"""


def page(records: Sequence[Record], costs: Sequence[Cost] = ()) -> str:
    """The page, from records that stand page by page, as `read_records` sorts them."""
    return (
        "\n".join([_OPENING, *_seconds(records), *_machines(records), _PUBLISHED, *_published(records, costs)]) + "\n"
    )


def _seconds(records: Sequence[Record]) -> Iterable[str]:
    """How long each page took at each scale."""
    took = {(record.page, record.scale): record.seconds for record in records}
    pages = sorted({record.page for record in records})
    yield "## Seconds for a page\n"
    yield "From a page's first import to its last claim, on machines that were partly busy with other work. Of a run"
    yield "that was continued from its checkpoint only the last process counts.\n"
    rows = [[f"{{doc}}`{page}`", *(_rounded(took.get((page, scale))) for scale in SCALES)] for page in pages]
    totals = [_rounded(sum(record.seconds for record in records if record.scale == scale)) for scale in SCALES]
    yield from table(["Page", *SCALES], [*rows, ["all that were run", *totals]])


def _rounded(seconds: float | None) -> str:
    return "not run" if not seconds else f"{seconds:.0f}"


def _machines(records: Sequence[Record]) -> Iterable[str]:
    """Every environment that records name, and which pages ran in it."""
    pages: dict[tuple[str, ...], list[str]] = {}
    for record in records:
        where, versions = record.environment, record.environment["versions"]
        packages = ", ".join(f"{name} {version}" for name, version in versions.items())
        machine = (record.scale, f"{where['device']} with {where['cores']} cores", where["precision"], packages)
        pages.setdefault(machine, []).append(record.page.partition("-")[0])
    yield "\n## What it ran on\n"
    rows = [(*machine, ", ".join(numbers)) for machine, numbers in pages.items()]
    rows.sort(key=lambda row: (SCALES.index(row[0]), row))
    yield from table(["Scale", "Device", "Precision", "Versions", "Pages"], rows)


def _published(records: Sequence[Record], costs: Sequence[Cost]) -> Iterable[str]:
    """What of the published size was run, with what was changed, and what was traced."""
    rows = [
        [f"{{doc}}`{record.page}`", f"run, with `{changed}`" if changed else "run as published"]
        for record in records
        if record.scale == "paper"
        for changed in [record.environment["changed"]]
    ]
    rows += [[f"{{doc}}`{cost.page}`", cost_line(cost)] for cost in costs]
    yield from table(["Page", "What is known of its published size"], sorted(rows))
