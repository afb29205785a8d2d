"""Build the wheel and the source archive, check both, and try the wheel in a clean environment.

``python scripts/package.py`` leaves them in ``dist``.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DIST = ROOT / "dist"
MAX_BYTES = 4 << 20
TOOLS = ("build", "twine", "check-wheel-contents")
TRAIN = ("train", "--preset", "digits", "--epochs", "1", "--out")


def run(*command: str | Path, cwd: Path = ROOT) -> None:
    """Show a command and run it; end with its status if it fails."""
    print("+", *command, flush=True)
    if status := subprocess.run(command, cwd=cwd, check=False).returncode:
        sys.exit(status)


def check_readme(wheel: Path) -> None:
    """End if the README for a package index has a link that works in this repository alone."""
    with zipfile.ZipFile(wheel) as members:
        name = next(one for one in members.namelist() if one.endswith(".dist-info/METADATA"))
        text = members.read(name).decode()
    if found := re.search(r"\[[^\]]*\]\((?!\w+:|#)[^)]*\)", text):
        sys.exit(f"The README of {wheel.name} has a link that works nowhere else: {found[0]}")
    if "# gncn" not in text:
        sys.exit(f"{wheel.name} has no README.")


def main() -> None:
    """Build, check, install and use."""
    shutil.rmtree(DIST, ignore_errors=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        run(sys.executable, "-m", "venv", place / "tools")
        tools = place / "tools" / "bin"
        run(tools / "python", *pip, *TOOLS)
        run(tools / "python", "-m", "build", "--outdir", DIST, ROOT)
        files = sorted(DIST.iterdir())
        run(tools / "twine", "check", "--strict", *files)
        wheels = [file for file in files if file.suffix == ".whl"]
        run(tools / "check-wheel-contents", *wheels)
        check_readme(*wheels)
        for file in files:
            print(f"{file.name}: {file.stat().st_size:,} bytes")
            if file.stat().st_size > MAX_BYTES:
                sys.exit(f"{file.name} is larger than {MAX_BYTES:,} bytes.")
        run(sys.executable, "-m", "venv", place / "clean")
        clean = place / "clean" / "bin"
        # The wheel alone, without the checkout, which could hide that a file is missing in it.
        run(clean / "python", *pip, "-c", ROOT / "constraints.txt", *wheels)
        run(clean / "gncn", "--help", cwd=place)
        run(clean / "python", "-m", "gncn", *TRAIN, place / "run", cwd=place)
        run(clean / "gncn", "settle", place / "run", "--index", "3", cwd=place)


if __name__ == "__main__":
    main()
