"""The reference holds every public name once, under the module that defines it, with all of its docstring."""

import inspect
import re
from pathlib import Path

import pytest
import yaml

import widelinear as wl
from tools.reference import TOPICS, write_reference

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    write_reference(ROOT / "src" / "widelinear", folder)
    return {file.stem: file.read_text() for file in folder.glob("*.md")}


def test_every_exported_name_stands_on_exactly_one_page(pages):
    described = re.findall(r"\{py:(?:function|class|data)\} (widelinear[.\w]+)", "".join(pages.values()))
    modules = {name for name in wl.__all__ if inspect.ismodule(getattr(wl, name))}
    assert set(wl.__all__) - modules - {path.rpartition(".")[2] for path in described} == set()
    assert len(described) == len(set(described))


def test_every_topic_is_in_the_contents(pages):
    parts = yaml.safe_load((ROOT / "_toc.yml").read_text())["parts"]
    listed = [chapter["file"] for part in parts for chapter in part["chapters"]]
    assert [file for file in listed if "/reference/" in file] == [
        f"chapters/reference/{topic.file}" for topic in TOPICS
    ]


def test_a_docstring_arrives_whole(pages):
    text = pages["any-network"]
    entry = text[text.index("{py:function} widelinear.linearize") :]
    entry = entry[: entry.index("\n:::\n")]
    assert entry.splitlines()[0] == "{py:function} widelinear.linearize(apply, params0)"
    order = [
        "$$f^{\\mathrm{lin}}",
        "`params0`\n: $\\theta_0$",
        "**Returns.**",
        "```pycon",
        "**Source.**",
        "**Tested against.**",
    ]
    places = [entry.find(part) for part in order]
    assert -1 not in places
    assert places == sorted(places)


def test_a_signature_keeps_its_defaults_and_has_no_annotations(pages):
    assert (
        "widelinear.wide_resnet(*, blocks, channels, outputs=10, activation=relu, pool=(8, 8), w_std=1.0"
        in pages["networks"]
    )
