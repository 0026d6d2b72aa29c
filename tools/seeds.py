"""Bounds that hold on one seed may hold by luck: run the pages on fresh ones, and print what every claim measured."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from tools.execution import execute_pages
from widelinear.claims import Record, read_records
from widelinear.tables import text_table


def run_seeds(pages: Sequence[Path], *, scale: str, package: Path, home: Path, seeds: Sequence[int]) -> list[Record]:
    """Execute the pages once for each seed; nothing that is stored changes."""
    records = []
    for seed in seeds:
        folder = home / str(seed)
        shutil.rmtree(folder, ignore_errors=True)  # the record of an earlier run must not stand in for one that failed
        execute_pages(
            pages,
            scale=scale,
            package=package,
            into=folder,
            records=folder,
            keep_failed=True,
            changes=f"seed={seed}",
        )
        records += read_records(folder)
    return records


def table(records: Sequence[Record]) -> str:
    """One row for each claim: its bound, what each seed measured, and on how many it is as stated."""
    seeds = [record.environment["changed"] for record in records]
    columns = sorted(set(seeds), key=seeds.index)
    rows = [("page", "claim", "bound", *columns, "as stated")]
    for page in sorted({record.page for record in records}):
        runs = [record for record in records if record.page == page]
        for claims in zip(*(run.claims for run in runs), strict=True):
            measured = [f"{claim.measured:.3g}" for claim in claims]
            as_stated = sum(claim.as_stated for claim in claims)
            rows.append((page, claims[0].id, claims[0].bound, *measured, f"{as_stated} of {len(claims)}"))
    return text_table(rows)
