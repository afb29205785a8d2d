"""How the package is laid out: which room may import which, and how long files may be."""

from pathlib import Path

import pytest
from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

ROOT = Path(__file__).parent.parent
SOURCE = sorted((ROOT / "src" / "gncn").rglob("*.py"))
EQUATIONS = (
    "competition",
    "discrepancy",
    "learning",
    "likelihood",
    "network",
    "precision",
    "settling",
)


def n_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


def test_imports_point_down(capsys):
    found = lint_imports(str(ROOT / "pyproject.toml"), no_cache=True, no_logo=True)
    assert found == EXIT_STATUS_SUCCESS, capsys.readouterr().out


def test_every_file_can_be_read_in_one_sitting():
    assert {p.name: n_lines(p) for p in SOURCE if n_lines(p) > 450} == {}


@pytest.mark.parametrize("name", EQUATIONS)
def test_equations_stand_in_short_files(name):
    assert n_lines(ROOT / f"src/gncn/core/{name}.py") <= 250


def test_the_whole_stays_small():
    assert sum(map(n_lines, SOURCE)) <= 15_000
