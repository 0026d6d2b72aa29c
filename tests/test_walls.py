"""What the library and the tools never do: run what they have read, or fetch over a line that anyone can change."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = [*(ROOT / "src").rglob("*.py"), *(ROOT / "tools").rglob("*.py")]
# They rebuild objects from bytes, and thereby may run whatever the bytes say.
UNPICKLERS = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve"}
RUNNERS = {"eval", "exec", "os.system", "os.popen"}
# `make cost` runs the code of a page of this book, as a notebook would.
ALLOWED = {("tools/estimate.py", "exec")}


def faults(source: str) -> set[str]:
    """What is forbidden in a text of Python."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names} & UNPICKLERS
        elif isinstance(node, ast.ImportFrom):
            found |= {(node.module or "").split(".")[0]} & UNPICKLERS
        elif isinstance(node, ast.Call):
            found |= {ast.unparse(node.func)} & RUNNERS
            options = {word.arg for word in node.keywords if getattr(word.value, "value", None) is True}
            found |= options & {"shell", "allow_pickle"}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and "http://" in node.value:
            found.add("http://")
    return found


def test_nothing_unpickles_evaluates_or_fetches_without_encryption():
    assert len(FILES) > 40
    found = {(str(file.relative_to(ROOT)), fault) for file in FILES for fault in faults(file.read_text())}
    assert found == ALLOWED


@pytest.mark.parametrize(
    ("fault", "source"),
    [
        ("pickle", "import pickle"),
        ("joblib", "from joblib import load"),
        ("eval", "eval('1 + 1')"),
        ("exec", "exec(text)"),
        ("os.system", "os.system('ls')"),
        ("shell", "subprocess.run(text, shell=True)"),
        ("allow_pickle", "np.load(file, allow_pickle=True)"),
        ("http://", "URL = 'http://example.org'"),
    ],
)
def test_a_planted_fault_is_found(fault: str, source: str):
    assert faults(source) == {fault}


def test_what_is_allowed_is_not_found():
    assert (
        faults("import json\nnp.load(file, allow_pickle=False)\njax.eval_shape(f, x)\n'https://example.org'") == set()
    )
