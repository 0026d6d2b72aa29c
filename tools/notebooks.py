"""Read and write notebooks; a file is written whole or not at all."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode

_PAIRING = {
    "default_lexer": "ipython3",
    "formats": "ipynb,md:myst",
    "notebook_metadata_filter": "myst,-jupytext.text_representation.jupytext_version",
}
_LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}


def read(path: Path) -> NotebookNode:
    """Read a notebook in the current format."""
    notebook: NotebookNode = nbformat.read(path, as_version=4)
    return notebook


def write(path: Path, notebook: NotebookNode) -> None:
    """Write a notebook, paired with its text, and without what depends on the machine's Python or jupytext."""
    notebook.metadata |= {"jupytext": _PAIRING, "language_info": _LANGUAGE}
    replace(path, nbformat.writes(notebook) + "\n")


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells that run."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def holds(path: Path, text: str) -> bool:
    """Whether a file is there and holds exactly this text."""
    return path.exists() and path.read_text() == text


def replace(path: Path, text: str) -> None:
    """Put a text in the place of a file in one step."""
    partial = path.with_suffix(".partial")
    partial.write_text(text)
    partial.replace(path)
