"""Problem sets as they are written: one master each, in the format of `otter assign`, and a list of wrong answers.

A master is a notebook kept as text. What all sets have in common is added here: settings, setup, how to use it.
"""

import tomllib
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from string import Template

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode

ASSIGNMENTS = Path(__file__).parents[1] / "assignments"

# Otter's own first cell cannot be used: on Colab it asks for test files that nothing has brought there.
CONFIG = """\
# ASSIGNMENT CONFIG
name: $name
init_cell: false
export_cell: false
show_question_points: true
tests: {files: true, ok_format: false}
requirements: ["$package"]
"""
HOW_TO = """\
**How it works.** Fill in what is marked `...`. The cell below a question runs its public tests, which print the idea
they check. Hidden tests run when you are graded, and ask for nothing that the text does not. The tests hold your
functions against properties and against `widelinear`: call the library where the question says so, and to check
yourself. To hand in, restart, run all cells, save, and submit this one file, `$notebook`. No question needs your answer
to another one, unless it says so.
"""
SETUP = """\
import importlib.util, subprocess, sys
from importlib.metadata import version
from pathlib import Path
from urllib.request import urlretrieve

needed = {
    "widelinear": "$package",
    "otter": "$otter",
}
missing = [source for name, source in needed.items() if importlib.util.find_spec(name) is None]
if missing:  # on Colab, say
    pins = [f"jax=={version('jax')}", f"jaxlib=={version('jaxlib')}"]  # never replace the JAX that is there
    subprocess.check_call([sys.executable, "-m", "pip", "install", "--quiet", *missing, *pins])

Path("tests").mkdir(exist_ok=True)
for test in "$tests".split():
    path = Path(f"tests/{test}.py")
    if not path.exists():  # this notebook came alone
        urlretrieve(f"$published/$name/tests/{path.name}", path)

import otter

grader = otter.Notebook()
"""
SHARED = {
    "package": "widelinear @ git+https://github.com/widelinear/widelinear@v0.1.0",
    "otter": "otter-grader>=7,<8",
    "published": "https://raw.githubusercontent.com/widelinear/widelinear/main/assignments/student",
}


@dataclass(frozen=True)
class Check:
    """One test: a function whose arguments are names of the student's notebook."""

    code: str
    points: float
    failure_message: str
    hidden: bool = False

    @classmethod
    def read(cls, source: str) -> "Check":
        """Split a test cell where its settings end."""
        head, code = source.split('""" # END TEST CONFIG\n')
        return cls(code, **yaml.safe_load(head.split("\n", 1)[1]))


@dataclass
class Question:
    """A question of a master: its settings, the code of its solution, and its tests."""

    name: str
    points: float | None = None
    manual: bool = False
    solutions: list[NotebookNode] = field(default_factory=list)
    tests: list[Check] = field(default_factory=list)

    @property
    def worth(self) -> float:
        """Its points, which are those of its tests where it has any."""
        return sum(test.points for test in self.tests) if self.points is None else self.points


@dataclass(frozen=True)
class Mutant:
    """A wrong answer: the solution with one text replaced, which must cost points in its question."""

    name: str
    question: str
    old: str
    new: str

    def of(self, cells: list[NotebookNode]) -> NotebookNode:
        """The one code cell with the old text, with the new text in its place.

        Raises:
            ValueError: if the old text stands there never, or more than once.
        """
        found = [cell for cell in cells if cell.cell_type == "code" for _ in range(cell.source.count(self.old))]
        if len(found) != 1:
            raise ValueError(f"{self.name}: {self.old!r} stands {len(found)} times in the solution, expected once.")
        return NotebookNode(found[0], source=found[0].source.replace(self.old, self.new))


def masters() -> list[Path]:
    """The texts of all problem sets, in their order."""
    return sorted(ASSIGNMENTS.glob("ps[0-9]-*.md"))


def set_name(master: Path) -> str:
    """How a set is called: `ps1`."""
    return master.stem.split("-")[0]


def student_notebook(master: Path) -> Path:
    """Where the notebook is that students download; its public tests are beside it."""
    return ASSIGNMENTS / "student" / set_name(master) / f"{master.stem}.ipynb"


def questions(cells: list[NotebookNode]) -> list[Question]:
    """The questions of a master, by the raw cells that begin and end their parts."""
    found: list[Question] = []
    part = ""
    for cell in cells:
        if cell.cell_type == "raw":
            edge, part = cell.source.splitlines()[0].removeprefix("# ").split()
            if (edge, part) == ("BEGIN", "QUESTION"):
                found.append(Question(**yaml.safe_load(cell.source)))
            part = part if edge == "BEGIN" else ""
        elif cell.cell_type == "code" and part == "SOLUTION":
            found[-1].solutions.append(cell)
        elif cell.cell_type == "code" and part == "TESTS":
            found[-1].tests.append(Check.read(cell.source))
    return found


def mutants(master: Path) -> list[Mutant]:
    """The common wrong answers to a set."""
    text = (ASSIGNMENTS / "mutants" / f"{set_name(master)}.toml").read_text()
    return [Mutant(**entry) for entry in tomllib.loads(text)["mutants"]]


def fingerprint(master: Path) -> str:
    """Of all that student files are made from: the master, and what the sets share."""
    return sha256("".join([master.read_text(), CONFIG, HOW_TO, SETUP, *SHARED.values()]).encode()).hexdigest()


def whole(master: Path) -> NotebookNode:
    """The master as Otter takes it, with the cells that all sets share."""
    notebook = jupytext.read(master)
    tests = " ".join(question.name for question in questions(notebook.cells) if question.tests)
    values = SHARED | {"name": set_name(master), "notebook": f"{master.stem}.ipynb", "tests": tests}
    config, how_to, setup = (Template(text).substitute(values) for text in (CONFIG, HOW_TO, SETUP))
    title, *rest = notebook.cells
    new = nbformat.v4
    notebook.cells = [new.new_raw_cell(config), title, new.new_markdown_cell(how_to), new.new_code_cell(setup), *rest]
    notebook.metadata.pop("jupytext")
    notebook.metadata["widelinear"] = {"master": fingerprint(master)}
    return notebook
