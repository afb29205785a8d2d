"""The list of `make mutate` keeps up with the library: every mutant has a line to break."""

import pytest
from tests.mutate import MUTANTS, ROOT


@pytest.mark.parametrize(("file", "old", "new"), MUTANTS, ids=range(len(MUTANTS)))
def test_mutant_changes_a_line_of_the_library(file: str, old: str, new: str):
    text = (ROOT / "src" / "gncn" / file).read_text(encoding="utf-8")
    assert text.replace(old, new, 1) != text
