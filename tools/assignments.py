"""Make student notebooks and autograders of the problem sets with Otter, and grade right and wrong answers by them."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode

from tools.problem_sets import Mutant, masters, mutants, questions, set_name, student_notebook, whole

BUILD = Path(__file__).parents[1] / "_build/assignments"


def make(master: Path) -> None:
    """Have Otter make both versions in the build folder, and keep the student's beside the master."""
    import otter.assign

    folder = BUILD / set_name(master)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / f"{master.stem}.ipynb"
    nbformat.write(whole(master), source)
    otter.assign.main(str(source), str(folder), no_pdfs=True, no_run_tests=True)
    made = folder / "student" / source.name
    notebook = nbformat.read(made, as_version=4)
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"  # random ones would make a change of every build
    nbformat.write(notebook, made)
    published = student_notebook(master).parent
    shutil.rmtree(published, ignore_errors=True)
    shutil.copytree(made.parent, published)


def archive(master: Path) -> Path:
    """The autograder that Otter made, which teachers upload or run."""
    (found,) = (BUILD / set_name(master) / "autograder").glob("*.zip")
    return found


def submissions(master: Path) -> Iterator[tuple[str, Mutant | None, NotebookNode]]:
    """What is graded: the notebook as students get it, the solution, and every mutant."""
    folder = BUILD / set_name(master)
    yield "nothing filled in", None, nbformat.read(folder / "student" / f"{master.stem}.ipynb", as_version=4)
    solution = nbformat.read(folder / "autograder" / f"{master.stem}.ipynb", as_version=4)
    yield "solution", None, solution
    for mutant in mutants(master):
        wrong = mutant.of(solution.cells)
        cells = [wrong if cell.id == wrong.id else cell for cell in solution.cells]
        yield mutant.name, mutant, NotebookNode(solution, cells=cells)


def grade(master: Path) -> bool:
    """Grade all submissions, print a row for each, and say whether each earns what it should."""
    import otter.api

    sheet = {question.name: question.worth for question in questions(jupytext.read(master).cells) if question.tests}
    all_right = True
    for name, mutant, notebook in submissions(master):
        submission = BUILD / set_name(master) / "submission.ipynb"
        nbformat.write(notebook, submission)
        results = otter.api.grade_submission(str(submission), str(archive(master)), quiet=True)
        points = {question: results.get_score(question) for question in sheet}
        if mutant is not None:
            right = points[mutant.question] < sheet[mutant.question]
        else:
            right = points == (sheet if name == "solution" else dict.fromkeys(sheet, 0))
        all_right = all_right and right
        row = f"{set_name(master)}  {name:52}{sum(points.values()):4g} of {sum(sheet.values()):g}  "
        lost = [f"{question} {points[question]:g}/{worth:g}" for question, worth in sheet.items()]
        print(row, *lost, "" if right else "NOT AS IT SHOULD BE", flush=True)
    return all_right


def main() -> None:
    """Make and grade all sets, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--set", default="", help="one set, for example ps1; by default all")
    parser.add_argument("--make-only", action="store_true", help="make notebooks and autograders, grade nothing")
    arguments = parser.parse_args()
    # Submissions differ in one cell: what the others compile is kept.
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(BUILD / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    right = True
    for master in masters():
        if arguments.set in ("", set_name(master)):
            make(master)
            right = (arguments.make_only or grade(master)) and right
    if not right:
        sys.exit("A submission did not earn what it should.")


if __name__ == "__main__":
    main()
