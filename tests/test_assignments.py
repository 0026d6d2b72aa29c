"""The problem sets, graded as Otter grades them but without its notebooks. `make assignments` runs Otter itself."""

import re
from pathlib import Path

import jax
import jupytext
import nbformat
import pytest

from tools.problem_sets import Check, Mutant, fingerprint, masters, mutants, questions, set_name, student_notebook

CHAPTERS = Path(__file__).parents[1] / "chapters"
SETS = pytest.mark.parametrize("master", masters(), ids=set_name)


@pytest.fixture(autouse=True)
def promotions():
    """As a student runs them: with JAX's silent promotions."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def run(cells, env):
    """Run code cells as a notebook that does not stop at errors; return these."""
    errors = []
    for cell in cells:
        try:
            exec(compile(cell.source, "<cell>", "exec"), env)
        except Exception as error:
            errors.append(error)
    return errors


def earns(check: Check, env) -> bool:
    """Otter looks up the arguments of a test by name where the notebook ran; any exception fails it."""
    own = {}
    exec(compile(check.code, "<test>", "exec"), own)
    (test,) = (value for name, value in own.items() if name.startswith("test_"))
    try:
        test(**{name: env.get(name) for name in test.__code__.co_varnames[: test.__code__.co_argcount]})
    except Exception:
        return False
    return True


@SETS
@pytest.mark.filterwarnings("ignore")
def test_the_solution_earns_everything_and_a_wrong_answer_loses_points(master):
    cells, env = jupytext.read(master).cells, {}
    sheet = {question.name: question for question in questions(cells)}
    solutions = [cell for question in sheet.values() for cell in question.solutions]
    assert run([c for c in cells if c.cell_type == "code" and "# BEGIN TEST CONFIG" not in c.source], env) == []
    assert [check.code for question in sheet.values() for check in question.tests if not earns(check, env)] == []
    mutant = mutants(master)[0]  # `make assignments` grades all of them: that takes minutes
    assert run([mutant.of(solutions)], wrong := dict(env)) == []
    assert not all(earns(check, wrong) for check in sheet[mutant.question].tests), f"{mutant.name} loses nothing"


@SETS
def test_a_notebook_with_nothing_filled_in_earns_nothing(master):
    cells, env = nbformat.read(student_notebook(master), as_version=4).cells, {}
    assert run([cell for cell in cells if cell.cell_type == "code" and "grader" not in cell.source], env) == []
    assert [
        check.code
        for question in questions(jupytext.read(master).cells)
        for check in question.tests
        if earns(check, env)
    ] == []


@SETS
def test_points_add_up_and_every_test_says_its_idea(master):
    sheet = questions(jupytext.read(master).cells)
    written = [question for question in sheet if question.manual]
    by_tests = [question for question in sheet if not question.manual]
    assert len(written) == 1
    assert sum(question.worth for question in by_tests) == 16
    assert sum(question.worth for question in written) == 4
    for question in by_tests:
        assert {check.hidden for check in question.tests} == {False, True}, f"{question.name}: public and hidden tests"
        assert {mutant.question for mutant in mutants(master)} >= {question.name}
        for check in question.tests:
            assert check.failure_message.endswith(".")
            assert not set(check.failure_message) & set('"\\\n'), "Otter writes it between double quotes"


@SETS
def test_student_files_are_those_of_the_master_and_keep_its_secrets(master):
    """The master's fingerprint is in the notebook; that Otter makes the same files from it, CI checks."""
    notebook = nbformat.read(student_notebook(master), as_version=4)
    assert notebook.metadata["widelinear"]["master"] == fingerprint(master), "run make assignments"
    published = [notebook, *(path.read_text() for path in student_notebook(master).parent.glob("tests/*.py"))]
    text = "\n".join(map(str, published))
    secrets = [
        re.search(r"def (test_\w+)", check.code)[1]
        for question in questions(jupytext.read(master).cells)
        for check in question.tests
        if check.hidden
    ]
    assert [secret for secret in [*secrets, "hidden=True", "SOLUTION"] if re.search(rf"\b{secret}\b", text)] == []


@SETS
def test_the_guide_states_what_the_master_states(master):
    title, hours = re.search(
        r"# Problem set \d: (.*?)\n.*?\*\*Expected hours:\*\* (\d+)\.", master.read_text(), re.S
    ).groups()
    assert re.search(rf"^\| .*{re.escape(title)}.* \| {hours} \|", (CHAPTERS / "teaching.md").read_text(), re.M)


def test_a_mutant_of_a_text_that_is_not_there_is_refused():
    cell = nbformat.v4.new_code_cell("a = 1\nb = 1")
    for old in ("c = 1", "= 1"):
        with pytest.raises(ValueError, match="expected once"):
            Mutant("wrong", "q1", old, "").of([cell])
