"""Read and write notebooks; a file is written whole or not at all."""

import base64
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


def figure(path: Path, name: str) -> bytes | None:
    """The stored picture of a notebook's figure, by its name; None where the page has not drawn it."""
    for cell in code_cells(read(path)):
        if cell.metadata.get("mystnb", {}).get("figure", {}).get("name") == name:
            pictures = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
            return base64.b64decode(pictures[0]) if pictures else None
    return None


def holds(path: Path, content: str | bytes) -> bool:
    """Whether a file is there and holds exactly this."""
    return path.exists() and path.read_bytes() == _bytes(content)


def replace(path: Path, content: str | bytes) -> None:
    """Put this in the place of a file in one step."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(_bytes(content))
    partial.replace(path)


def _bytes(content: str | bytes) -> bytes:
    return content if isinstance(content, bytes) else content.encode()
