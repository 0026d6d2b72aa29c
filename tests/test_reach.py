"""What makes a page out of date: a change in what it reaches, however far, and nothing else."""

import nbformat
import pytest

from tools.reach import reachable
from tools.stamps import library_hash

LIBRARY = {
    "__init__.py": "from widelinear import theory\nfrom widelinear.theory import two, four\n",
    "theory.py": (
        '"""Theory."""\n'
        "import os\n"
        "from widelinear.numbers import ONE as UNIT\n"
        "def two():\n    return UNIT + UNIT\n"
        "class Four:\n    def value(self):\n        return double(two())\n"
        "def four():\n    return Four().value()\n"
        "def double(x):\n    from widelinear import late\n    return late.twice(x)\n"
        "def six():\n    return 6\n"
        "os.environ.get('ANY')\n"
    ),
    "numbers.py": "ONE, TWO = 1, 2\nTHREE = 3\n",
    "late.py": "def twice(x):\n    return 2 * x\ndef thrice(x):\n    return 3 * x\n",
}


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "widelinear"
    folder.mkdir()
    for name, source in LIBRARY.items():
        (folder / name).write_text(source)
    return folder


def reached(package, page):
    return {".".join(place) for place in reachable(package, page) if place[1]}


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("import widelinear as wl\nwl.two()", {"theory.two", "numbers.ONE", "numbers.TWO"}),
        ("import widelinear\nwidelinear.theory.six()", {"theory.six"}),
        ("import widelinear.theory as t\nprint(t.six)", {"theory.six"}),
        ("from widelinear.late import thrice as three\nthree(1)", {"late.thrice"}),
        ("from widelinear import late\nlate.thrice(1)", {"late.thrice"}),
        ("import widelinear as wl\ngetattr(wl.late, 'twice')", {"late.twice", "late.thrice"}),
        ("import widelinear as wl\nwl.late.twice(1)", {"late.twice"}),
        (
            "import widelinear as wl\nwl.four()",
            {"theory.four", "theory.Four", "theory.double", "theory.two", "numbers.ONE", "numbers.TWO", "late.twice"},
        ),
        ("import os\nos.two()", set()),
    ],
)
def test_a_page_reaches_what_it_names_and_what_that_names(package, page, expected):
    assert reached(package, page) == expected


def test_what_runs_on_import_is_reached_with_the_module(package):
    assert ("theory", "") in reachable(package, "import widelinear as wl\nwl.two()")


def hash_of(package, page="import widelinear as wl\nwl.four()"):
    return library_hash(package, nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(page)]))


@pytest.mark.parametrize(
    ("file", "old", "new", "older"),
    [
        ("late.py", "2 * x", "x + x", True),
        ("numbers.py", "ONE, TWO = 1, 2", "ONE, TWO = 1.0, 2", True),
        ("theory.py", "os.environ.get('ANY')", "os.environ.get('OTHER')", True),
        ("late.py", "3 * x", "x * 3", False),
        ("theory.py", "Theory.", "The theory.", False),
        ("theory.py", "return 6", "return 6  # six", False),
        ("late.py", "    return 2 * x", '    """Twice."""\n    return 2 * x', False),
    ],
)
def test_a_page_is_older_when_what_it_reaches_has_changed(package, file, old, new, older):
    before, path = hash_of(package), package / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    assert (hash_of(package) != before) is older


def test_a_data_file_of_the_library_makes_every_page_older(package):
    before = hash_of(package)
    (package / "figures.json").write_text("{}")
    assert hash_of(package) != before
