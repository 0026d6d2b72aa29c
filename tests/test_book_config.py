"""What a clean build of the book does not notice: a page left out, a page without description, a missing font."""

import json
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"], *(page["file"] for part in TOC["parts"] for page in part["chapters"])]


def description(page: str) -> str:
    """The sentence that a search engine shows for a page."""
    notebook, text = ROOT / f"{page}.ipynb", ROOT / f"{page}.md"
    if notebook.exists():
        metadata = json.loads(notebook.read_text())["metadata"]
    else:
        metadata = yaml.safe_load(text.read_text().split("---\n")[1]) if text.read_text().startswith("---\n") else {}
    return metadata.get("myst", {}).get("html_meta", {}).get("description", "")


def test_every_chapter_is_in_the_table_of_contents():
    chapters = {f"chapters/{notebook.stem}" for notebook in (ROOT / "chapters").glob("[0-9]*.ipynb")}
    assert chapters <= set(PAGES)


@pytest.mark.parametrize("page", [page for page in PAGES if "/reference/" not in page])  # those are made with one
def test_every_page_says_what_it_is_about(page: str):
    assert description(page), f"{page} needs a description: myst, html_meta in its front matter or metadata"


def test_the_mathematics_needs_no_network():
    script = ROOT / "static" / CONFIG["sphinx"]["config"]["mathjax_path"]
    fonts = script.parent / "output/chtml/fonts/woff-v2"
    assert script.exists()
    # The script names its 23 fonts only as it meets a symbol, so a missing one shows on no page but that symbol's.
    assert len(list(fonts.glob("MathJax_*.woff"))) == 23
