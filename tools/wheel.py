"""Build the package, install its wheel where nothing else is, and run the README's example there.

A checkout hides what a wheel lacks: a file that is not packed, a dependency that is not declared.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

# Runs in the bare environment, in a folder that holds the README and nothing else.
_EXAMPLE = """
import doctest, sys, widelinear
found = doctest.testfile("README.md", module_relative=False)
assert widelinear.__file__.startswith(sys.prefix), f"imported from {widelinear.__file__}, not from the wheel"
assert found.attempted > 5, "the README has no example"
print(f"{found.attempted} examples of the README, {found.failed} failed; from {sys.prefix}")
sys.exit(bool(found.failed))
"""


def try_wheel(root: Path, folder: Path) -> int:
    """Build in `folder`, install there and run the example; its exit code."""
    build = [sys.executable, "-m", "build", "--outdir", str(folder / "dist"), str(root)]
    built = subprocess.run(
        build, capture_output=True, text=True, check=False
    )  # the wheel is made from the source archive
    if built.returncode:
        sys.exit(f"{built.stdout}{built.stderr}\nThe package was not built.")
    (wheel,) = (folder / "dist").glob("*.whl")
    print(f"{wheel.name}, {wheel.stat().st_size / 1e6:.2f} MB: installing it", flush=True)
    venv.create(folder / "bare", with_pip=True)
    python = folder / "bare" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", wheel], check=True)
    empty = folder / "elsewhere"
    empty.mkdir()
    shutil.copy(root / "README.md", empty)
    return subprocess.run([python, "-I", "-c", _EXAMPLE], cwd=empty, check=False).returncode


def main() -> int:
    """Try the wheel of this checkout in a folder that is removed afterwards."""
    argparse.ArgumentParser(prog="python -m tools.wheel", description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        return try_wheel(ROOT, Path(folder))


if __name__ == "__main__":
    sys.exit(main())
