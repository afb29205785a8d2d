"""Run the quick tests with the oldest or the newest versions of all that the library needs.

``python scripts/versions.py oldest`` takes Python 3.11 and the lower bounds in pyproject.toml,
``python scripts/versions.py newest`` the newest Python and packages that can be installed.  Each
has an environment of its own in ``.bench``.  Arguments after that are pytest's.

The interpreter is searched for on PATH and among pyenv's; ``PYTHON=...`` names another.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHONS = {"oldest": ("3.11",), "newest": ("3.13", "3.12")}
"""Versions of Python to look for, the best first."""

COMPANIONS = (
    "click==8.2.1",  # newer ones warn of what Typer 0.16 imports
    "pyparsing==3.2.5",  # from 3.3 on it warns of how Matplotlib 3.9 calls it
)
"""What oldest packages need in turn, where the newest version of it warns of them."""


def lower_bounds() -> list[str]:
    """The oldest version of each package that users need, as pip's constraints."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # Oldest versions of what users need; tools of development may be newer.
    needed = set(project["dependencies"])
    for extra, packages in project["optional-dependencies"].items():
        if extra != "dev":
            needed.update(packages)
    return sorted((*(package.replace(">=", "==") for package in needed), *COMPANIONS))


def interpreters(version: str) -> list[str]:
    """Commands that may start this version of Python."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    found = sorted((pyenv / "versions").glob(f"{version}.*/bin/python"))
    return [f"python{version}", *map(str, reversed(found))]


def starts(command: str, version: str) -> bool:
    """Whether the command starts this version of Python."""
    ask = [command, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
    try:
        done = subprocess.run(ask, capture_output=True, encoding="utf-8", check=False)
    except OSError:
        return False
    return done.stdout.strip() == version


def find(versions: tuple[str, ...]) -> str:
    """The command that starts the first of these versions which is installed."""
    named = os.environ.get("PYTHON")
    for version in versions:
        for command in [named] if named else interpreters(version):
            if starts(command, version):
                return command
    wanted = " or ".join(versions)
    sys.exit(
        f"Found no Python {wanted}: looked for {named or 'it on PATH and under pyenv'}. "
        "Install one, or name one by PYTHON=..."
    )


def main() -> None:
    """Set the environment up, and run the tests in it."""
    if len(sys.argv) < 2 or sys.argv[1] not in PYTHONS:
        sys.exit(f"Expected one of {', '.join(PYTHONS)}; received {sys.argv[1:]}.")
    kind, *arguments = sys.argv[1:]
    place = ROOT / ".bench" / kind
    python = place / "bin" / "python"
    subprocess.run([find(PYTHONS[kind]), "-m", "venv", "--clear", place], check=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if kind == "oldest":
        constraints = place / "constraints.txt"
        constraints.write_text("\n".join(lower_bounds()) + "\n", encoding="utf-8")
        install += ["-c", constraints]
    subprocess.run([*install, "-e", f"{ROOT}[dev]"], check=True)
    tests = [python, "-m", "pytest", "-n", "2", "--dist", "worksteal", "-m", "not slow"]
    # Compiled programs of another JAX are no use.
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(place / "jax")}
    environment |= {"PYTHONWARNDEFAULTENCODING": "1"}
    done = subprocess.run([*tests, *arguments], cwd=ROOT, env=environment, check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
