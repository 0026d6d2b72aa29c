"""What a stored page was made from, and every way in which it can contradict itself.

The stamp of an executed page holds where it ran and three hashes: of the page's code, of the outputs it stored, and of
what it can reach in the library. It holds no time and no commit, so that repeating a run writes the same bytes.
"""

import ast
import hashlib
import json
from pathlib import Path
from typing import Any

import jupytext
from nbformat import NotebookNode

from tools.notebooks import code_cells, holds, read
from tools.reach import reachable


def stamp(notebook: NotebookNode, environment: dict[str, Any], library: str) -> None:
    """Write into an executed notebook where and from what it was made."""
    notebook.metadata["widelinear"] = {**environment, **_page_hashes(notebook), "src": library}


def contradictions(page: Path) -> list[str]:
    """Why the stored outputs are not those of the page's code at the laptop scale; empty where they are."""
    notebook = read(page)
    stored = notebook.metadata.get("widelinear")
    if stored is None:
        return ["it has no stamp: its outputs, if any, were not stored by `make execute`"]
    now = _page_hashes(notebook)
    found = [f"its {part} changed after it was executed" for part in now if now[part] != stored[part]]
    if stored["scale"] != "laptop":
        found.append(f"its outputs are those of the {stored['scale']} scale, not of laptop")
    return found + [why for cell in code_cells(notebook) for why in _flaws(cell)]


def pair_contradictions(page: Path) -> list[str]:
    """Why the page and its text for review are not the same; empty where they are."""
    pair = page.with_suffix(".md")
    same = holds(pair, jupytext.writes(jupytext.read(page), fmt="md:myst"))
    return [] if same else [f"it differs from its text for review, {pair.name}"]


def is_older(page: Path, package: Path) -> bool:
    """Whether something in the library that the page can reach has changed since the page was made."""
    notebook = read(page)
    return bool(notebook.metadata.get("widelinear", {}).get("src") != library_hash(package, notebook))


def code_hash(notebook: NotebookNode) -> str:
    """Hash a page's code, without its text and its outputs."""
    return _hash([cell.source for cell in code_cells(notebook)])


def library_hash(package: Path, notebook: NotebookNode) -> str:
    """Hash what a page can reach in the library: code without comments and docstrings, and all data files."""
    page = "\n".join(cell.source for cell in code_cells(notebook))
    reached = [[*place, _code(nodes)] for place, nodes in sorted(reachable(package, page).items())]
    files = [file for file in sorted(package.rglob("*")) if file.is_file() and "__pycache__" not in file.parts]
    data = [[str(file.relative_to(package)), _digest(file)] for file in files if file.suffix != ".py"]
    return _hash([reached, data])


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def _code(node: object) -> object:
    """A syntax tree as plain lists: the same in every version of Python, as `ast.dump` is not."""
    if isinstance(node, list):
        return [_code(child) for child in node if not _is_text(child)]
    if isinstance(node, ast.AST):
        fields = {name: _code(value) for name, value in ast.iter_fields(node) if value not in (None, [])}
        return [type(node).__name__, fields]
    return repr(node)


def _is_text(node: object) -> bool:
    """Whether a statement is nothing but a text: a docstring, wherever it stands."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _page_hashes(notebook: NotebookNode) -> dict[str, str]:
    return {"code": code_hash(notebook), "outputs": _hash([cell.outputs for cell in code_cells(notebook)])}


def _hash(value: object) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _flaws(cell: NotebookNode) -> list[str]:
    kinds = {output.get("name", output.output_type) for output in cell.outputs}
    return [
        f"cell {cell.id} {flaw}"
        for flaw, is_there in {
            "was not executed": cell.source and cell.execution_count is None,
            "stores an error": "error" in kinds and "raises-exception" not in cell.metadata.get("tags", []),
            "stores a warning or another text of stderr": "stderr" in kinds,
        }.items()
        if is_there
    ]
