"""Every way in which a stored page can contradict its code is found, and a page that fails leaves no trace.

A book of one small page is executed once; each test plants its fault in a copy.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tools import ledger, reproducibility
from tools.chapters import main
from tools.estimate import Cost
from tools.notebooks import read, write
from widelinear.claims import Claim, Record, read_records

PAGE = "01-page"
CLAIM = """\
from widelinear.claims import check_claims, claim
from widelinear.scale import choose
settings = choose(gap=(0.1, 0.2, 0.3))
record = check_claims("01-page", [
    claim("T1", "The gap | is small.", paper="exact", source="eq. 8", measured=settings.gap, below={bound})
], settings=settings)"""


def add_page(root, name, *sources):
    """A page whose cells are called c0, c1, …"""
    cells = [nbformat.v4.new_markdown_cell(f"# {name}", id="title")]
    cells += [nbformat.v4.new_code_cell(source, id=f"c{number}") for number, source in enumerate(sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    write(root / "chapters" / f"{name}.ipynb", nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel}))


def replace_in(file, old, new):
    """Change a text that is there."""
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def checkout(root):
    """All files but those made by a build."""
    files = [file for file in root.rglob("*") if file.is_file() and "_build" not in file.parts]
    return {file: file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A book just refreshed: one page with one claim, executed at laptop and then at smoke."""
    root = tmp_path_factory.mktemp("book")
    (root / "chapters").mkdir()
    (root / "src" / "widelinear").mkdir(parents=True)
    (root / "src" / "widelinear" / "theory.py").write_text('"""Theory."""\n\ndef two():\n    return 2\n')
    (root / "static").mkdir()
    (root / "references.bib").touch()
    (root / "_config.yml").write_text('exclude_patterns: [chapters/0*.md]\nexecute:\n  execute_notebooks: "off"\n')
    others = "- file: chapters/ledger\n- file: chapters/reproducibility\n"
    (root / "_toc.yml").write_text(f"format: jb-book\nroot: chapters/{PAGE}\nchapters:\n{others}")
    add_page(root, PAGE, CLAIM.format(bound=1.0), "print(record.verdicts)")
    verbs = (["pair"], ["execute"], ["execute", "--scale", "smoke"], ["ledger"])
    assert [main(verb, root) for verb in verbs] == [0] * len(verbs)
    return root


@pytest.fixture
def root(executed, tmp_path):
    """A copy of that book, to spoil."""
    return shutil.copytree(executed, tmp_path / "book")


@pytest.fixture
def notebook(root):
    """The file of its page."""
    return root / "chapters" / f"{PAGE}.ipynb"


def test_a_book_just_refreshed_passes_the_check(root, capsys):
    assert main(["check"], root) == 0
    assert capsys.readouterr().out == f"Code, outputs, text and ledger agree: {PAGE}.\n"


def test_a_page_says_where_and_from_what_it_was_made(notebook):
    stamp = read(notebook).metadata.widelinear
    assert (stamp.scale, stamp.device, stamp.precision) == ("laptop", "cpu", "float32")
    assert stamp.keys() >= {"versions", "cores", "code", "outputs", "src"}


def test_each_scale_leaves_its_own_record(root):
    found = [(record.scale, record.claims[0].measured) for record in read_records(root / "results/claims")]
    assert found == [("smoke", 0.1), ("laptop", 0.2)]


def test_executing_an_unchanged_page_again_writes_the_same_bytes(root, notebook):
    before = notebook.read_bytes()
    assert main(["execute"], root) == 0
    assert notebook.read_bytes() == before


def test_code_changed_after_execution_is_found(root, notebook, capsys):
    replace_in(notebook, "print(record.verdicts)", "print(record.summary)")
    assert main(["check"], root) == 1
    assert "its code changed after it was executed" in capsys.readouterr().out


def test_outputs_changed_after_execution_are_found(root, notebook, capsys):
    replace_in(notebook, "T1  holds", "T1  shines")
    assert main(["check"], root) == 1
    assert "its outputs changed after it was executed" in capsys.readouterr().out


def test_a_page_without_a_stamp_is_found(root, capsys):
    add_page(root, PAGE, "1 + 1")
    assert main(["check"], root) == 1
    assert "it has no stamp" in capsys.readouterr().out


def test_outputs_of_another_scale_are_found(root, notebook, capsys):
    shutil.copy(root / "_build/smoke/chapters" / notebook.name, notebook)
    assert main(["check"], root) == 1
    assert "its outputs are those of the smoke scale, not of laptop" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("output", "flaw"),
    [
        (nbformat.v4.new_output("error", ename="E", evalue="", traceback=[]), "cell c0 stores an error"),
        (nbformat.v4.new_output("stream", name="stderr", text="a warning"), "cell c0 stores a warning"),
    ],
)
def test_a_stored_error_or_warning_is_found(root, notebook, output, flaw, capsys):
    page = read(notebook)
    page.cells[1].outputs = [output]
    write(notebook, page)
    assert main(["check"], root) == 1
    assert flaw in capsys.readouterr().out


def test_an_error_in_a_cell_tagged_for_it_is_no_flaw(root, notebook, capsys):
    page = read(notebook)
    page.cells[1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]
    page.cells[1].metadata.tags = ["raises-exception"]
    write(notebook, page)
    main(["check"], root)
    assert "stores an error" not in capsys.readouterr().out


def test_a_cell_that_was_not_executed_is_found(root, notebook, capsys):
    page = read(notebook)
    page.cells[1].execution_count = None
    write(notebook, page)
    assert main(["check"], root) == 1
    assert "cell c0 was not executed" in capsys.readouterr().out


@pytest.mark.parametrize("ending", [".ipynb", ".md"])
def test_a_page_that_differs_from_its_text_is_found(root, notebook, ending, capsys):
    replace_in(notebook.with_suffix(ending), f"# {PAGE}", "# Another title")
    assert main(["check"], root) == 1
    assert capsys.readouterr().out.splitlines()[0] == f"{PAGE}.ipynb: it differs from its text for review, {PAGE}.md"


def test_a_page_without_its_text_is_found(root, notebook, capsys):
    notebook.with_suffix(".md").unlink()
    assert main(["check"], root) == 1
    assert "it differs from its text" in capsys.readouterr().out


def test_the_text_holds_no_version_of_the_tool_that_wrote_it(notebook):
    assert "jupytext_version:" not in notebook.with_suffix(".md").read_text()


@pytest.mark.parametrize("edited", [".ipynb", ".md"])
def test_pairing_carries_an_edit_to_the_other_file(root, notebook, edited):
    files = {".ipynb": notebook, ".md": notebook.with_suffix(".md")}
    replace_in(files.pop(edited), f"# {PAGE}", "# Another title")
    (other,) = files.values()
    assert main(["pair"], root) == 0
    assert "# Another title" in other.read_text()


def test_pairing_what_agrees_changes_nothing(root, notebook):
    before = notebook.read_bytes(), notebook.with_suffix(".md").read_bytes()
    assert main(["pair"], root) == 0
    assert (notebook.read_bytes(), notebook.with_suffix(".md").read_bytes()) == before


def test_a_ledger_that_was_not_made_from_the_records_is_found(root, capsys):
    replace_in(root / "chapters/ledger.md", "0.2", "0.02")
    assert main(["check"], root) == 1
    assert "ledger.md: it was not made from the records" in capsys.readouterr().out


def test_a_page_of_an_older_library_is_listed_and_does_not_fail(root, capsys):
    (root / "src/widelinear/figures.json").write_text("{}")
    assert main(["check"], root) == 0
    assert f"MADE BY AN OLDER src/: {PAGE}.ipynb" in capsys.readouterr().out


def test_refreshing_executes_exactly_the_stale_pages(root, capsys):
    add_page(root, "02-other", "1 + 1")
    assert main(["execute", "--stale"], root) == 0
    assert [line.split(" …")[0] for line in capsys.readouterr().out.splitlines()] == ["[1/1] 02-other laptop"]


def test_refreshing_what_is_up_to_date_executes_nothing(root, capsys):
    assert main(["execute", "--stale"], root) == 0
    assert capsys.readouterr().out == "Every page is up to date.\n"


def test_one_chapter_is_chosen_by_the_beginning_of_its_name(root, capsys):
    add_page(root, "02-other", "1 + 1")
    assert main(["execute", "--chapter", "02"], root) == 0
    assert [line.split(" …")[0] for line in capsys.readouterr().out.splitlines()] == ["[1/1] 02-other laptop"]


def test_a_kernel_that_the_machine_calls_python3_is_not_used(root, tmp_path, monkeypatch):
    (tmp_path / "kernels" / "python3").mkdir(parents=True)
    (tmp_path / "kernels" / "python3" / "kernel.json").write_text('{"argv": ["false"], "display_name": "stray"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    add_page(root, "02-other", "1 + 1")
    assert main(["execute", "--chapter", "02"], root) == 0


def test_an_unknown_chapter_is_refused(root):
    with pytest.raises(SystemExit, match=r"No chapter is called 07\*\.ipynb"):
        main(["execute", "--chapter", "07"], root)


def test_a_page_that_fails_keeps_its_old_outputs_and_stops_no_other(root, notebook, capsys):
    replace_in(notebook, "below=1.0", "below=0.001")
    before = notebook.read_bytes(), (root / "results/claims" / f"{PAGE}.laptop.json").read_bytes()
    add_page(root, "02-other", "1 + 1")
    assert main(["execute"], root) == 1
    assert (notebook.read_bytes(), (root / "results/claims" / f"{PAGE}.laptop.json").read_bytes()) == before
    assert "widelinear" in read(root / "chapters/02-other.ipynb").metadata
    printed = capsys.readouterr().out
    assert "FAILED in cell c0\n    ClaimFailed: T1 FAILS: measured 0.2, it has to be below 0.001" in printed


def test_at_paper_a_claim_that_fails_is_kept_and_named(root, notebook, capsys):
    replace_in(notebook, "below=1.0", "below=0.25")  # 0.3 is measured at paper
    before = notebook.read_bytes()
    assert main(["execute", "--scale", "paper"], root) == 1
    assert "    Kept as a record: claims: 1 FAILS" in capsys.readouterr().out.splitlines()
    assert notebook.read_bytes() == before
    assert read_records(root / "results/claims")[-1].claims[0].verdict == "FAILS"
    main(["ledger"], root)
    page = (root / "chapters/ledger.md").read_text()
    failed = f"  - {{doc}}`T1 <{PAGE}>` **FAILS**: 0.3, below 0.25. The gap | is small."
    assert f"- `paper`: 0 of 1 claims are as stated.\n{failed}\n" in page
    assert "| **FAILS**: 0.3, below 0.25 |" in page


@pytest.mark.parametrize("scale", ["smoke", "laptop"])
def test_at_other_scales_a_claim_that_fails_is_not_kept(root, notebook, scale):
    replace_in(notebook, "below=1.0", "below=0.05")
    before = (record := root / "results/claims" / f"{PAGE}.{scale}.json").read_bytes()
    assert main(["execute", "--scale", scale], root) == 1
    assert record.read_bytes() == before


def test_a_failing_record_under_another_name_is_not_kept(root, notebook, capsys):
    replace_in(notebook, "below=1.0", "below=0.25")
    shutil.copy(notebook, notebook.with_name("02-copy.ipynb"))
    assert main(["execute", "--scale", "paper", "--chapter", "02"], root) == 1
    assert "Kept" not in capsys.readouterr().out
    assert [record.scale for record in read_records(root / "results/claims")] == ["smoke", "laptop"]


def test_a_kernel_that_dies_is_a_page_that_fails(root, capsys):
    add_page(root, "02-other", "import os", "os._exit(1)")
    assert main(["execute", "--chapter", "02"], root) == 1
    assert "FAILED in cell c1\n    Kernel died" in capsys.readouterr().out


def test_a_page_that_records_under_another_name_fails(root, notebook, capsys):
    shutil.copy(notebook, notebook.with_name("02-copy.ipynb"))
    assert main(["execute", "--chapter", "02"], root) == 1
    assert "FAILED: it records its claims under another name than its own, 02-copy" in capsys.readouterr().out


def test_a_page_that_is_edited_while_it_runs_is_not_overwritten(root, notebook, capsys):
    edit = "import pathlib\np = pathlib.Path('02-other.ipynb')\np.write_text(p.read_text().replace('# 02', '# 2'))"
    add_page(root, "02-other", edit)
    assert main(["execute", "--chapter", "02"], root) == 1
    assert "# 2-other" in notebook.with_name("02-other.ipynb").read_text()
    assert "FAILED: it was edited while it ran" in capsys.readouterr().out


def test_reproducing_ends_with_the_ledger_and_the_page_and_leaves_the_checkout_alone(root, capsys):
    before = checkout(root)
    assert main(["reproduce", "--scale", "smoke"], root) == 0
    assert checkout(root) == before
    *_, claim, blank, closing = capsys.readouterr().out.splitlines()
    assert [*claim.split()[:3], blank] == ["01", "smoke", "T1", ""]
    built = root / "_build/smoke/_build/html"
    assert closing == f"The book: {built / 'index.html'}"
    assert "0.1, below 1" in (built / "chapters/ledger.html").read_text()


def test_reproducing_a_page_that_fails_shows_its_verdict_and_its_error_in_the_book(root, notebook, capsys):
    replace_in(notebook, "below=1.0", "below=0.001")
    assert main(["reproduce", "--scale", "smoke"], root) == 1
    assert "below 0.001  FAILS" in capsys.readouterr().out
    assert "ClaimFailed" in (root / f"_build/smoke/_build/html/chapters/{PAGE}.html").read_text()


def test_a_warning_fails_the_book_and_a_second_build_fails_as_well(root, capfd):
    add_page(root, "02-no-entry-in-the-contents", "1 + 1")
    for _ in range(2):
        assert main(["book"], root) == 1
    assert "document isn't included in any toctree" in capfd.readouterr().err


def test_the_ledger_page_puts_the_scales_side_by_side(root):
    page = ledger.page(read_records(root / "results/claims"))
    smoke, laptop, paper = "**holds**: 0.1, below 1", "**holds**: 0.2, below 1", "not run"
    row = f"| **T1**: The gap &#124; is small. | exact (eq. 8) | {smoke} | {laptop} | {paper} |"
    assert row in page.splitlines()
    assert "- `laptop`: 1 of 1 claims are as stated." in page
    assert "Repeat it: `make reproduce SCALE=smoke CHAPTER=01`" in page


def record(scale, measured, **changed):
    """Claims of several places of the paper, all with one measured number."""
    environment = {"scale": scale, "device": "cpu", "cores": 2, "precision": "float32", "changed": ""} | changed
    environment["versions"] = dict.fromkeys(("widelinear", "jax", "flax"), "1.0")
    claims = (
        Claim("S9", "Slope.", -0.5, "Figure S9", measured, -1.0, 0.0, False),
        Claim("F10", "Loss.", 0.1, "Figure 10, right", measured, -1.0, 1.0, False),
        Claim("F2", "Spread.", "–", "Figures 2, S1", measured, -1.0, 1.0, False),
        Claim("control", "Control.", "–", "Figure 2", measured, 0.0, 1.0, True),
        Claim("T1", "No figure.", "–", "Theorem 2.1, eq. 8", measured, -1.0, 1.0, False),
    )
    return Record("01-page", claims, {"width": 8}, {}, {}, environment, None, 7.4, "2026-01-01")


def test_the_ledger_lists_what_figures_show_in_the_papers_order():
    rows = ledger.page([record("smoke", -0.25), record("laptop", -0.75)]).splitlines()
    start = rows.index("## The paper's figures")
    assert [row for row in rows[start:] if row.startswith("| Figure")][1:4] == [
        "| Figures 2, S1 | {doc}`F2 <01-page>`: Spread. | – | -0.25 | -0.75 | not run |",
        "| Figure 10, right | {doc}`F10 <01-page>`: Loss. | 0.1 | -0.25 | -0.75 | not run |",
        "| Figure S9 | {doc}`S9 <01-page>`: Slope. | -0.5 | -0.25 | -0.75 | not run |",
    ]
    failed = ledger.page([record("smoke", -1.5)])
    assert "| Figure S9 | {doc}`S9 <01-page>`: Slope. | -0.5 | -1.5 **FAILS** | not run | not run |" in failed


def test_the_ledger_can_be_filtered_by_every_theorem_and_figure():
    places = re.findall(r'<option value="(.*?)">', ledger.page([record("smoke", 0.5)]))
    assert places == ["Figure 2", "Figure 10", "Figure S9", "Theorem 2.1"]


def test_the_page_on_reproducibility_says_where_how_long_and_what_was_changed():
    page = reproducibility.page([record("smoke", 0.5), record("paper", 0.5, changed="width=4")]).splitlines()
    assert "| {doc}`01-page` | 7 | not run | 7 |" in page
    assert "| all that were run | 7 | not run | 7 |" in page
    assert "| smoke | cpu with 2 cores | float32 | widelinear 1.0, jax 1.0, flax 1.0 | 01 |" in page
    assert "| {doc}`01-page` | run, with `width=4` |" in page


def test_the_cost_of_the_published_size_comes_into_the_ledger(root, capsys):
    assert main(["cost", "--chapter", "01"], root) == 0
    assert capsys.readouterr().out == f"{PAGE}: traced to its end; nothing takes longer than seconds\n"
    assert main(["ledger"], root) == 0
    assert "- `paper`, the published size: traced to its end" in (root / "chapters" / "ledger.md").read_text()


@pytest.mark.parametrize(("gigabytes", "fits"), [(79.0, "79 GB and fits 80"), (81.0, "81 GB and DOES NOT FIT 80")])
def test_a_cost_says_whether_it_fits_one_gpu(gigabytes, fits):
    assert ledger.cost_line(Cost(PAGE, 1, gigabytes, 1e15, "")).endswith(fits)


def test_the_cost_of_a_page_that_changed_since_leaves_the_ledger(root, capsys):
    main(["cost", "--chapter", "01"], root)
    changed = read(page := root / "chapters" / f"{PAGE}.ipynb")
    changed.cells[-1].source = "changed = 1"
    write(page, changed)
    main(["ledger"], root)
    assert "the published size:" not in (root / "chapters" / "ledger.md").read_text()
    main(["check"], root)
    assert f"TRACED BEFORE THE PAGE CHANGED: {PAGE};" in capsys.readouterr().out


# In every Python process, kernels included: what our code writes, makes, moves or removes.
WATCH = """\
import os, sys
log = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def ours(frame):
    while frame and not frame.f_code.co_filename.startswith(tuple(os.environ["WATCH_CODE"].split(os.pathsep))):
        frame = frame.f_back
    return frame

def note(event, args):
    paths = ()
    if event == "open":
        opened = isinstance(args[0], (str, os.PathLike)) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        paths = args[:1] if opened else ()
    elif event in ("os.mkdir", "os.remove", "os.rmdir"):
        paths = args[:1] if args[-1] == -1 else ()  # otherwise inside of a folder that is being removed
    elif event == "os.rename":
        paths = args[:2]
    if paths and ours(sys._getframe()):
        for path in paths:
            os.write(log, os.path.abspath(os.fspath(path)).encode() + b"\\n")

sys.addaudithook(note)
"""
LONG_RUN = """\
import jax.numpy as jnp, optax, widelinear as wl
wl.train(lambda w, x: x @ w, jnp.zeros((1, 1)), jnp.ones((1, 1)), jnp.ones((1, 1)), optimizer=optax.sgd(0.1),
    steps=[0, 9], record=lambda w: w, checkpoint=wl.scale.checkpoint_folder("run"))"""


def test_nothing_is_written_outside_of_the_project_its_cache_and_scratch(root, tmp_path):
    home, cache, scratch, jupyter = (tmp_path / name for name in ("home", "cache", "scratch", "jupyter"))
    for folder in (home, cache, scratch, jupyter):
        folder.mkdir()
    (home / "sitecustomize.py").write_text(WATCH)
    add_page(root, PAGE, LONG_RUN, CLAIM.format(bound=1.0))
    verbs = "[['pair'], ['execute', '--scale', 'paper'], ['ledger'], ['front']]"
    code = f"from pathlib import Path; from tools.chapters import main; [main(v, Path({str(root)!r})) for v in {verbs}]"
    repository = Path(__file__).parents[1]
    watched = {
        "WATCH_LOG": str(home / "log"),
        "WATCH_CODE": os.pathsep.join(f"{repository / part}{os.sep}" for part in ("src", "tools")),
        "PYTHONPATH": os.pathsep.join(map(str, (home, repository / "src", repository))),
        "XDG_CACHE_HOME": str(cache),
        "TMPDIR": str(scratch),
        **dict.fromkeys(("JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"), str(jupyter)),
    }
    subprocess.run([sys.executable, "-c", code], env=os.environ | watched, check=True, capture_output=True)
    written = {Path(line) for line in (home / "log").read_text().splitlines()}
    allowed = (root, cache / "widelinear", scratch, jupyter)
    assert not [str(path) for path in written if not any(path.is_relative_to(folder) for folder in allowed)]
    assert all(any(path.is_relative_to(folder) for path in written) for folder in allowed[:2])
    assert not [str(path) for path in written if path.is_relative_to(scratch) and path.exists()]
