"""Execute pages in this environment, each whole or not at all, and stamp them."""

import json
import os
import subprocess
import tempfile
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import nbformat
from ipykernel.kernelspec import RESOURCES, get_kernel_dict
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode

from tools.notebooks import code_cells, read, write
from tools.stamps import library_hash, stamp
from widelinear.claims import Record, read_records

# Asked in the page's own kernel, after its last cell: device and precision are those of the page.
_WHERE = "import json, widelinear.scale\nprint(json.dumps(widelinear.scale.environment()))"


# Progress bars go to the terminal: what a page writes to the notebook's own streams is stored in it.
_BARS = {"WIDELINEAR_PROGRESS": "terminal"}
_PAST_THE_NOTEBOOK = "--IPKernelApp.capture_fd_output=False"


class _ThisInterpreter(AsyncKernelManager):
    """A kernel of the interpreter that runs this tool, whatever kernels the machine has."""

    @property
    def kernel_spec(self) -> KernelSpec:
        return KernelSpec(resource_dir=RESOURCES, **get_kernel_dict())


def execute_pages(
    pages: Sequence[Path],
    *,
    scale: str,
    package: Path,
    into: Path,
    records: Path,
    keep_failed: bool = False,
    changes: str | None = None,
) -> bool:
    """Execute pages one after the other, with a line of progress for each.

    A page that runs to its end is written to `into` and its claims to `records`. Of one that fails nothing is written,
    unless `keep_failed` asks for as much of it as ran. At `paper`, where a long run is evidence whatever it finds,
    claims that fail are written, too. `changes` are settings of this run, as in `WIDELINEAR_SET`.

    Returns:
        Whether all ran to their ends.
    """
    into.mkdir(parents=True, exist_ok=True)
    all_ran, commit = True, _commit(package)
    for number, page in enumerate(pages, 1):
        print(f"[{number}/{len(pages)}] {page.stem} {scale} …", end=" ", flush=True)
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            variables = {"WIDELINEAR_SCALE": scale, "WIDELINEAR_RESULTS": folder, **_BARS} | commit
            if changes is not None:
                variables["WIDELINEAR_SET"] = changes
            notebook, failure = _execute(page, package, variables)
            found = read_records(Path(folder))
        contradiction = _contradiction(page, notebook, found)
        failure = failure or contradiction
        is_evidence = scale == "paper" and contradiction is None and not all(map(_is_as_stated, found))
        print(f"{time.perf_counter() - began:.0f} s, {failure or _summary(found)}", flush=True)
        if failure is None or keep_failed:
            write(into / page.name, notebook)
        if failure is None or keep_failed or is_evidence:
            for record in found:
                record.write(records)
        if is_evidence:
            print(f"    Kept as a record: {_summary(found)}", flush=True)
        all_ran &= failure is None
    return all_ran


def _execute(page: Path, package: Path, variables: dict[str, str]) -> tuple[NotebookNode, str | None]:
    """One page, run and stamped; or as much of it as ran, and why it stopped."""
    notebook = read(page)
    library = library_hash(package, notebook)  # before it runs: an edit in the meantime makes the page older
    notebook.metadata.pop("widelinear", None)
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    question = nbformat.v4.new_code_cell(_WHERE)
    notebook.cells.append(question)
    started: list[NotebookNode] = []
    client = NotebookClient(
        notebook,
        record_timing=False,
        coalesce_streams=True,  # a busy kernel sends one print in several pieces
        # Every start warns that local connections are not encrypted.
        extra_arguments=["--log-level=ERROR", _PAST_THE_NOTEBOOK],
        kernel_manager_class=_ThisInterpreter,
        on_cell_start=lambda cell, cell_index: started.append(cell),
        resources={"metadata": {"path": str(page.parent)}},
    )
    try:
        client.execute(env=os.environ | variables)
    except (CellExecutionError, DeadKernelError) as error:
        notebook.cells.remove(question)
        why = f"{error.ename}: {error.evalue}" if isinstance(error, CellExecutionError) else str(error)
        return notebook, f"FAILED in cell {started[-1].id}\n{textwrap.indent(why, '    ')}"
    notebook.cells.remove(question)
    stamp(notebook, json.loads(question.outputs[-1].text), library)
    return notebook, None


def _commit(package: Path) -> dict[str, str]:
    """The commit as a variable for `check_claims`, asked once: the first page written already changes the tree."""
    git = ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"]
    try:
        name = subprocess.run(git, cwd=package, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):  # no git, or no repository
        return {}
    return {"WIDELINEAR_COMMIT": name}


def _contradiction(page: Path, notebook: NotebookNode, records: Sequence[Record]) -> str | None:
    if [cell.source for cell in read(page).cells] != [cell.source for cell in notebook.cells]:
        return "FAILED: it was edited while it ran; run it again"
    if any(record.page != page.stem for record in records):
        return f"FAILED: it records its claims under another name than its own, {page.stem}"
    return None


def _is_as_stated(record: Record) -> bool:
    return all(claim.as_stated for claim in record.claims)


def _summary(records: Sequence[Record]) -> str:
    return "; ".join(f"claims: {record.summary}" for record in records) or "no claims"
