"""The ledger: every claim of the book, what the paper says, what was measured, the bound it had to meet."""

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from tools.estimate import GPU, MEMORY, Cost
from widelinear.claims import Claim, Record
from widelinear.scale import SCALES
from widelinear.tables import text_table

_OPENING = """\
---
myst:
  html_meta:
    description: Every claim of the book, with the paper's value, ours, the bound and the verdict.
---

# Ledger

Every claim of this book: what the paper says, what we measured, the bound it had to meet. A page that breaks one of
its claims fails, and nothing of it is stored. At `paper`, where runs are long, what fails is stored, too, and named
here. A *control* is a claim that is expected to fail: it shows that its bound can be broken. `make refresh` makes this
page from the records that the chapters write as they run. What they ran on, and for how long, is on the page on
{doc}`reproducibility <reproducibility>`.
"""

# Without script the page is whole, and the browser's own search remains.
_FILTER = """
```{raw} html
<p><label for="ledger-filter">Show only rows that say</label>
<input id="ledger-filter" type="search" list="ledger-places" autocomplete="off">
<datalist id="ledger-places">%s</datalist> <output for="ledger-filter"></output></p>
<script>(() => {
  const box = document.getElementById("ledger-filter");
  box.addEventListener("input", () => {
    const wanted = box.value.trim().toLowerCase(), number = /[0-9]$/.test(wanted);  // S1 is not found in S10
    const says = (text) => text.split(wanted).slice(1).some((rest) => !(number && /^[0-9]/.test(rest)));
    let count = 0;
    for (const part of document.querySelectorAll("article section section")) {
      const rows = [...part.querySelectorAll("tbody tr")];
      rows.forEach((row) => { row.hidden = wanted !== "" && !says(row.textContent.toLowerCase()); });
      const shown = rows.filter((row) => !row.hidden).length;
      part.hidden = shown === 0;
      count += shown;
    }
    document.querySelector("output[for=ledger-filter]").textContent = wanted && `${count} rows`;
  });
})();</script>
```
"""


def text(records: Sequence[Record]) -> str:
    """The ledger for a terminal."""
    header = ("page", "scale", "claim", "sentence", "paper", "measured", "bound", "verdict")
    rows = [(_number(record), record.scale, *_short(claim)) for record in records for claim in record.claims]
    return text_table([header, *rows])


def page(records: Sequence[Record], costs: Sequence[Cost] = ()) -> str:
    """The ledger as a page of the book, from records that stand page by page, as `read_records` sorts them."""
    chapters = [list(chapter) for _, chapter in groupby(records, key=lambda record: record.page)]
    lines = [
        *_totals(records),
        _filter(records),
        *_figures(records),
        *(line for chapter in chapters for line in _chapter(chapter, costs)),
    ]
    return "\n".join([_OPENING, *lines]) + "\n"


def _number(record: Record) -> str:
    return record.page.partition("-")[0]


def _short(claim: Claim) -> tuple[str, ...]:
    id, sentence, *rest = claim.cells
    return (id, textwrap.shorten(sentence, 48, placeholder=" …"), *rest)


def _totals(records: Sequence[Record]) -> Iterable[str]:
    for scale in SCALES:
        claims = [(record.page, claim) for record in records if record.scale == scale for claim in record.claims]
        others = [(page, claim) for page, claim in claims if not claim.as_stated]
        as_stated = f"{len(claims) - len(others)} of {len(claims)} claims are as stated."
        yield f"- `{scale}`: {as_stated}" if claims else f"- `{scale}`: not run."
        for page, claim in others:
            yield f"  - {{doc}}`{claim.id} <{page}>` {_found(claim)}. {claim.sentence}"


def _filter(records: Sequence[Record]) -> str:
    """A field that hides rows, with the theorems, lemmas, figures and tables of the paper to choose from."""
    sources = " ".join(claim.source for record in records for claim in record.claims)
    places = set(re.findall(r"(?:Theorem|Lemma|Figure|Table) [A-Z]?[\d.]*\d", sources))
    return _FILTER % "".join(f'<option value="{place}">' for place in sorted(places, key=_in_order))


def _in_order(place: str) -> list[tuple[int, str]]:
    """Figure 2 before Figure 10, and S1 after both."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", place)]


def _figures(records: Sequence[Record]) -> Iterable[str]:
    """What the paper's figures and tables show, in their order, beside ours."""
    found: dict[tuple[str, str], dict[str, Claim]] = {}
    for record in records:
        for claim in record.claims:
            if _figure(claim) and not claim.control:
                found.setdefault((record.page, claim.id), {})[record.scale] = claim
    if not found:
        return
    yield "\n## The paper's figures\n"
    yield "What the paper's figures and tables show, beside ours; the sizes of our runs are under each chapter.\n"
    rows = []
    for (home, _), by_scale in sorted(found.items(), key=lambda item: _figure(next(iter(item[1].values())))):
        id, sentence, paper, *_ = (claim := next(iter(by_scale.values()))).cells
        measured = (_value(by_scale.get(scale)) for scale in SCALES)
        what = f"{{doc}}`{id} <{home}>`: {sentence}"
        rows.append([claim.source, what, paper.removesuffix(f" ({claim.source})"), *measured])
    yield from table(["Figure", "What is measured", "The paper", *SCALES], rows)


def _figure(claim: Claim) -> tuple[()] | tuple[bool, int]:
    """Where the first figure that a claim names stands: those of the supplement after the others; empty for none."""
    named = re.search(r"(?:Figures?|Table) (S?)(\d+)", claim.source)
    return (bool(named[1]), int(named[2])) if named else ()


def _chapter(records: Sequence[Record], costs: Sequence[Cost]) -> Iterable[str]:
    """One chapter: its claims with the scales side by side, and how each scale was run."""
    measured = {record.scale: {claim.id: claim for claim in record.claims} for record in records}
    claims = {claim.id: claim for record in records for claim in record.claims}
    yield f"\n## Chapter {_number(records[0])}\n\nThe page is {{doc}}`{records[0].page}`.\n"
    rows = [
        [*_stated(claim), *(_found(measured.get(scale, {}).get(claim.id)) for scale in SCALES)]
        for claim in claims.values()
    ]
    yield from table(["Claim", "The paper says", *SCALES], rows)
    yield ""
    yield from map(_how, records)
    yield from (f"- `paper`, the published size: {cost_line(cost)}." for cost in costs if cost.page == records[0].page)


def table(header: Sequence[str], rows: Iterable[Iterable[str]]) -> Iterable[str]:
    """The lines of a table of a page."""
    yield _line(header)
    yield _line(["---"] * len(header))
    yield from map(_line, rows)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '&#124;') for cell in cells)} |"


def _stated(claim: Claim) -> tuple[str, str]:
    id, sentence, paper, *_ = claim.cells
    return f"**{id}**{' (control)' if claim.control else ''}: {sentence}", paper


def _found(claim: Claim | None) -> str:
    if claim is None:
        return "not run"
    *_, measured, bound, verdict = claim.cells
    return f"**{verdict}**: {measured}, {bound}"


def _value(claim: Claim | None) -> str:
    """What was measured; beside it the verdict, if that is not the stated one."""
    if claim is None:
        return "not run"
    return claim.cells[3] + ("" if claim.as_stated else f" **{claim.verdict}**")


def cost_line(cost: Cost) -> str:
    """What the published size of a page costs, in a sentence."""
    if cost.stopped:
        return f"not traced to its end, stopped in {cost.stopped}"
    if not cost.programs:
        return "traced to its end; nothing takes longer than seconds"
    fits = "fits" if cost.gigabytes < MEMORY else "DOES NOT FIT"
    return (
        f"traced to its end; {cost.programs} programs with {cost.operations:.2g} operations (double precision counts "
        f"twice), {cost.hours:.2g} hours at {GPU:.0g} a second; the largest takes "
        f"{cost.gigabytes:.2g} GB and {fits} {MEMORY}"
    )


def _how(record: Record) -> str:
    where, versions = record.environment, record.environment["versions"]
    facts = [
        f"{where['device']} with {where['cores']} cores",
        where["precision"],
        *(f"{name} {versions[name]}" for name in ("widelinear", "jax", "flax")),
        *_data(record.data),
        f"commit `{record.commit or 'unknown'}`",
        record.date,
        f"{record.seconds:.0f} s",
    ]
    changed = f' SET="{where["changed"]}"' if where["changed"] else ""
    command = f"make reproduce SCALE={record.scale} CHAPTER={_number(record)}{changed}"
    sizes = " ".join(f"{name}={value}" for name, value in record.settings.items())
    return f"- `{record.scale}`: {', '.join(facts)}. Repeat it: `{command}`. Settings: `{sizes}`"


def _data(data: Mapping[str, object]) -> Iterable[str]:
    if data:
        yield f"data {data['name']}" + ("" if data["official"] else " (not the official files)")
