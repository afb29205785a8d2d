"""The library computes what it computed at commit 1ac8ea5, within the rounding of float32.

``tests/golden/cases.py`` says what the cases are, ``tests/golden/write.py`` how the numbers were
written.  A few cases run every time; `make test-all` runs them all.
"""

import functools
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file
from tests.golden.write import all_cases, compact

FOLDER = Path(__file__).parent / "golden"
CASES = dict(all_cases())

RTOL, ATOL = 2e-5, 2e-6

QUICK = ("network/learned",)
"""Cases that run every time."""


@functools.cache
def numbers() -> dict[str, dict[str, np.ndarray]]:
    """The stored numbers of each case."""
    cases: dict[str, dict[str, np.ndarray]] = {}
    for name, value in load_file(FOLDER / "numbers.safetensors").items():
        case, _, what = name.partition(":")
        cases.setdefault(case, {})[what] = value
    return cases


def differences(
    wanted: dict[str, np.ndarray], found: dict[str, np.ndarray], rtol: float, atol: float
) -> list[str]:
    """What differs, in words, with the greatest difference and the greatest value."""
    words = [f"{what}: missing" for what in wanted if what not in found]
    words += [f"{what}: not among the stored" for what in found if what not in wanted]
    for what in wanted.keys() & found.keys():
        then, now = wanted[what], compact(found[what])
        # Tight estimates begin at peaks that Adam climbs to, and rounding grows on the way.
        limits = (1e-3, 1e-3) if what.startswith("tight") else (rtol, atol)
        if then.shape != now.shape:
            words.append(f"{what}: shape {now.shape}, was {then.shape}")
        elif not np.allclose(now, then, *limits):
            then, now = then.astype(np.float64), now.astype(np.float64)
            far = np.max(np.abs(now - then))
            words.append(f"{what}: differs by up to {far:.3g}; values up to {abs(then).max():.3g}")
    return sorted(words)


def test_every_case_has_its_numbers():
    assert set(numbers()) == set(CASES)


def marked(name: str) -> Any:
    """A case as pytest takes it: slow unless it is among the quick ones."""
    return pytest.param(name, marks=() if name in QUICK else pytest.mark.slow)


# Step by step, loops count with Python's integers, which shape annotations don't foresee.
@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", [marked(name) for name in CASES])
def test_golden_numbers(name):
    with jax.disable_jit(not name.startswith("measured/")):
        found = CASES[name]()
    assert differences(numbers()[name], found, RTOL, ATOL) == []
