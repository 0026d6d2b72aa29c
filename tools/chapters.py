"""Execute the book's chapters, keep their stored outputs honest, and build the book.

The Makefile gives each of these verbs a short name; `python -m tools.chapters VERB --help` lists the options.
"""

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jupytext.cli import jupytext

from tools import ledger, reproducibility, stamps
from tools.estimate import Cost, estimate_apart
from tools.execution import execute_pages
from tools.notebooks import figure, holds, read, replace, write
from tools.reference import write_reference
from tools.seeds import run_seeds, table
from widelinear.claims import Record, read_records
from widelinear.scale import SCALES

ROOT = Path(__file__).resolve().parents[1]

# The picture on the first page is a figure of a chapter, never drawn apart from it.
_FRONT_PAGE, _FRONT_FIGURE = "01-wide-networks-are-linear.ipynb", "fig-outputs"
_FRONT_PICTURE = "static/hero.png"

# What the book is built from, and all that a chapter may read.
_SOURCES = ("_config.yml", "_toc.yml", "references.bib", "chapters", "results", "static")


def execute(root: Path, scale: str, chapter: str = "", stale: bool = False) -> int:
    """Run chapters and keep their claims in results/claims; at laptop also store their outputs."""
    package = _package(root)
    pages = [page for page in _pages(root, chapter) if not stale or _is_stale(page, package)]
    if not pages:
        print("Every page is up to date.")
    # The stored outputs are those of laptop: another scale leaves them alone.
    into = root / "chapters" if scale == "laptop" else root / "_build" / scale / "chapters"
    all_ran = execute_pages(pages, scale=scale, package=package, into=into, records=_records(root))
    return 0 if all_ran else 1


def pair(root: Path) -> int:
    """Bring each notebook and its text for review together; the one that was edited last wins."""
    for page in _pages(root):
        notebook = read(page)
        if "formats" not in notebook.metadata.get("jupytext", {}):
            write(page, notebook)
        jupytext(["--sync", "--quiet", str(page)])
    return 0


def write_ledger(root: Path) -> int:
    """Print the ledger, and write its page and that on reproducibility, from the records in results/claims."""
    records = read_records(_records(root))
    print(ledger.text(records))
    for name, text in _made(records, _costs(root)).items():
        replace(root / "chapters" / name, text)
    return 0


def front(root: Path) -> int:
    """Take the figure of the index page from the chapter that draws it."""
    if picture := _front_figure(root):
        replace(root / _FRONT_PICTURE, picture)
    return 0


def check(root: Path) -> int:
    """Fail where a page, its stamp, its text or the ledger disagree; list the pages of an older src/."""
    pages = _pages(root)
    found = [
        f"{page.name}: {why}"
        for page in pages
        for why in (*stamps.contradictions(page), *stamps.pair_contradictions(page))
    ]
    costs = _costs(root)
    for name, text in _made(read_records(_records(root)), costs).items():
        if not holds(root / "chapters" / name, text):
            found.append(f"{name}: it was not made from the records in results/claims")
    picture = _front_figure(root)
    if picture and not holds(root / _FRONT_PICTURE, picture):
        found.append(f"{_FRONT_PICTURE}: it is not the figure {_FRONT_FIGURE} of {_FRONT_PAGE}")
    print("\n".join(found) or f"Code, outputs, text and ledger agree: {', '.join(page.stem for page in pages)}.")
    older = [page.name for page in pages if stamps.is_older(page, _package(root))]
    if older:
        print(f"MADE BY AN OLDER src/: {', '.join(older)}")
    if found or older:
        print("`make refresh` mends this.")
    if changed := {file.stem for file in _cost_files(root)} - {cost.page for cost in costs}:
        print(f"TRACED BEFORE THE PAGE CHANGED: {', '.join(sorted(changed))}; `make cost CHAPTER=…` mends this.")
    return 1 if found else 0


def book(root: Path) -> int:
    """Build the book from the stored outputs."""
    code, closing = _build(_copy(root, root / "_build" / "source"), root)
    print(closing)
    return code


def reproduce(root: Path, scale: str, chapter: str = "") -> int:
    """Run chapters in a copy of the book, build it there, and end with the ledger; the checkout stays as it is."""
    home = root / "_build" / scale
    source, records = _copy(root, home / "source"), home / "claims"
    shutil.rmtree(records, ignore_errors=True)
    pages = _pages(source, chapter)
    all_ran = execute_pages(
        pages, scale=scale, package=_package(root), into=source / "chapters", records=records, keep_failed=True
    )
    found = read_records(records)
    for name, text in _made(found, _costs(root)).items():
        replace(source / "chapters" / name, text)
    front(source)
    print("Building the book", flush=True)
    code, closing = _build(source, home)
    print(f"\n{ledger.text(found)}\n\n{closing}")
    return code if all_ran else 1


def fresh_seeds(root: Path, scale: str, chapter: str = "", count: int = 5) -> int:
    """Run chapters on fresh seeds and print what every claim measured; nothing that is stored changes."""
    records = run_seeds(
        _pages(root, chapter),
        scale=scale,
        package=_package(root),
        home=root / "_build" / "seeds" / scale,
        seeds=range(1, count + 1),
    )
    print(table(records))
    return 0 if all(claim.as_stated for record in records for claim in record.claims) else 1


def cost(root: Path, chapter: str = "") -> int:
    """Trace the published size of chapters without running what takes long, and keep what it would cost."""
    folder = root / "results" / "costs"
    folder.mkdir(parents=True, exist_ok=True)
    stopped = False
    for page in _pages(root, chapter):
        found = estimate_apart(page)
        print(f"{page.stem}: {ledger.cost_line(found)}", flush=True)
        written = found._asdict() | {"code": stamps.code_hash(read(page))}
        replace(folder / f"{page.stem}.json", json.dumps(written, indent=1) + "\n")
        stopped |= bool(found.stopped)
    return int(stopped)


def _made(records: Sequence[Record], costs: Sequence[Cost]) -> dict[str, str]:
    """The pages that are made from records."""
    return {"ledger.md": ledger.page(records, costs), "reproducibility.md": reproducibility.page(records, costs)}


def _costs(root: Path) -> list[Cost]:
    """The costs of pages whose code is still the one that was traced."""
    costs = [json.loads(file.read_text()) for file in _cost_files(root)]
    now = {page.stem: stamps.code_hash(read(page)) for page in _pages(root)}
    return [Cost(**cost) for cost in costs if cost.pop("code") == now.get(cost["page"])]


def _cost_files(root: Path) -> list[Path]:
    return sorted((root / "results" / "costs").glob("*.json"))


def _copy(root: Path, source: Path) -> Path:
    """A new copy of the book's sources, and the library's reference.

    Sphinx takes every text below its folder, even those of caches, for a page.
    """
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir(parents=True)
    for name in _SOURCES:
        if (root / name).is_dir():
            shutil.copytree(root / name, source / name)
        elif (root / name).exists():  # before its first page has run, a book has no results
            shutil.copy2(root / name, source / name)
    if "chapters/reference/" in (root / "_toc.yml").read_text():
        write_reference(_package(root), source / "chapters" / "reference")
    return source


def _build(source: Path, output: Path) -> tuple[int, str]:
    """Build the book with warnings as errors, and from nothing: after a build that failed, the next one would pass."""
    for leftover in ("html", ".doctrees"):
        shutil.rmtree(output / "_build" / leftover, ignore_errors=True)
    tool = Path(sys.executable).with_name("jupyter-book")
    options = ("-W", "-n", "--keep-going", "--all", "-q", "--path-output", str(output))
    command = [str(tool), "build", *options, str(source)]
    code = subprocess.run(command, stdout=subprocess.DEVNULL, check=False).returncode  # warnings go to stderr
    page = output / "_build" / "html" / "index.html"
    return code, "The book was not built: its warnings are above." if code else f"The book: {page}"


def _front_figure(root: Path) -> bytes | None:
    page = root / "chapters" / _FRONT_PAGE
    return figure(page, _FRONT_FIGURE) if page.exists() else None


def _package(root: Path) -> Path:
    return root / "src" / "widelinear"


def _records(root: Path) -> Path:
    return root / "results" / "claims"


def _pages(root: Path, chapter: str = "") -> list[Path]:
    pages = sorted((root / "chapters").glob(f"{chapter or '[0-9]'}*.ipynb"))
    if not pages:
        sys.exit(f"No chapter is called {chapter or '[0-9]'}*.ipynb: name one of those in {root / 'chapters'}.")
    return pages


def _is_stale(page: Path, package: Path) -> bool:
    return bool(stamps.contradictions(page)) or stamps.is_older(page, package)


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Run one verb; its exit code."""
    options = vars(_parser().parse_args(arguments))
    return int(options.pop("run")(root, **options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.chapters", description=__doc__)
    verbs = parser.add_subparsers(required=True)
    commands = {}
    for run in (execute, pair, write_ledger, front, check, book, reproduce, fresh_seeds, cost):
        name = run.__name__.removeprefix("write_").removeprefix("fresh_")
        commands[name] = verbs.add_parser(name, help=run.__doc__, description=run.__doc__)
        commands[name].set_defaults(run=run)
    for name, scale in (("execute", "laptop"), ("reproduce", "smoke"), ("seeds", "smoke")):
        commands[name].add_argument("--scale", choices=SCALES, default=scale)
        commands[name].add_argument("--chapter", default="", help="how its name begins, for example 01")
    commands["execute"].add_argument("--stale", action="store_true", help="only pages whose outputs are out of date")
    commands["cost"].add_argument("--chapter", default="", help="how its name begins, for example 01")
    commands["seeds"].add_argument("--count", type=int, default=5, help="how many seeds, from 1 on")
    return parser


if __name__ == "__main__":
    sys.exit(main())
