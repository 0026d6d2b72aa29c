"""`make look` finds every kind of fault that it looks for, and none on a page that has none."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

LOOK = Path(__file__).parents[1] / "tools" / "look.mjs"
MAKEFILE = LOOK.parents[1] / "Makefile"
# It follows the reader's mode, as the theme does; and its slider draws where it stands.
PAGE = """<!doctype html><html lang="en"><head><meta name="viewport" content="width=device-width">
<title>A page</title></head>
<body><main><h1>A page</h1><div class="cell_output"><div>
<svg role="img" aria-label="A line" viewBox="0 0 9 9" width="90"><polyline points="0,0 9,9" stroke="black"/></svg>
<label for="s">step</label><input id="s" type="range" min="0" max="3" value="0" aria-valuetext="0"></div></div></main>
<script>
const dark = matchMedia("(prefers-color-scheme: dark)"), root = document.documentElement;
const follow = () => { root.dataset.theme = dark.matches ? "dark" : "light"; };
follow();
dark.addEventListener("change", follow);
const slider = document.getElementById("s");
slider.addEventListener("input", () => {
  slider.setAttribute("aria-valuetext", slider.value);
  document.querySelector("polyline").setAttribute("points", `0,0 9,${slider.value}`);
});
</script></body></html>"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which node finds what the look needs, in the versions of the Makefile."""
    browsers = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    if shutil.which("npm") is None or not ("CHROMIUM" in os.environ or any(map(shutil.which, browsers))):
        pytest.skip("the look needs node, npm and Chromium")
    packages = [word for word in MAKEFILE.read_text().split() if word.startswith(("playwright-core@", "axe-core@"))]
    assert len(packages) == 2
    folder = tmp_path_factory.mktemp("look")
    install = ["npm", "install", "--prefix", folder, "--fetch-retries=0", "--no-audit", *packages]
    if subprocess.run(install, capture_output=True, timeout=300).returncode:
        pytest.skip(f"{' and '.join(packages)} could not be fetched: npm's registry does not answer")
    return folder


def look(folder: Path, site: Path, page: str, **environment: str) -> subprocess.CompletedProcess[str]:
    (site / "chapters").mkdir(parents=True)
    (site / "chapters" / "page.html").write_text(page)
    (site / "big.js").write_bytes(b"//" + os.urandom(3_000_000).hex().encode())
    command = [shutil.which("node") or "", LOOK, site]
    return subprocess.run(
        command, cwd=folder, env=os.environ | environment, capture_output=True, text=True, timeout=300
    )


def test_a_page_without_faults_passes(folder: Path, tmp_path: Path):
    found = look(folder, tmp_path, PAGE)
    assert (found.returncode, found.stdout.splitlines()[-1]) == (0, "1 pages, 2 widths, 2 modes: no fault."), found


# What is right on the page, what is planted in its place, and what the look says of it.
PLANTED = [
    ('<label for="s">step</label>', "", "label: "),
    ("<h1>", '<img src="data:,"><h1>', "image-alt: "),
    ("<h1>", '<h1 style="color:#eee;background:#fff;width:2000px">', "color-contrast: "),
    ("<h1", "<h1", "px wider than the screen"),
    ("<main>", '<script src="https://example.org/x.js"></script><main>', "from elsewhere: https://example.org/x.js"),
    ("<main>", '<script src="/missing.js"></script><main>', "404 "),
    ("<main>", '<script src="/big.js"></script><main>', "loads 3."),
    ("follow();\n", "follow(); setTimeout(() => missing());\n", "script: missing is not defined"),
    ('addEventListener("change"', 'addEventListener("never"', "is not dark"),
    ('setAttribute("points"', 'setAttribute("never"', "slider: an arrow key leaves its lines"),
    ('setAttribute("aria-valuetext"', 'setAttribute("never"', "slider: an arrow key leaves its text"),
]


def test_every_planted_fault_is_found(folder: Path, tmp_path: Path):
    page = PAGE
    for right, wrong, _ in PLANTED:
        assert right in page
        page = page.replace(right, wrong, 1)
    found = look(folder, tmp_path, page)
    assert found.returncode == 1, found
    assert [fault for *_, fault in PLANTED if fault not in found.stdout] == []


def test_without_chromium_it_says_what_it_needs(folder: Path, tmp_path: Path):
    found = look(folder, tmp_path, PAGE, CHROMIUM="", PATH="/nowhere")
    assert found.returncode == 1
    assert "needs Chromium or Chrome" in found.stderr
