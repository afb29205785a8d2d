"""Write the golden numbers: what the library settles, learns and measures at small sizes.

The files in this folder were written at commit 1ac8ea5, before the library was divided into
rooms; ``tests/test_golden.py`` holds the library to them.  Only ``measured`` is newer:
autoencoders got another way of completing, which their weighted sum takes part of, and tight
estimates search peaks in each component of the prior and take images from the whole split.  To
write what the library computes today
into another folder, for a comparison::

    python -m tests.golden.write some/folder

Names, or how they begin (``network/newton``), restrict that to some cases.
``tests/golden/stored.py`` writes the golden files of formats.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import numpy as np
from safetensors.numpy import load_file, save_file
from tests.golden import library
from tests.golden.cases import (
    BLOCKS,
    MEASURED,
    MEASURING,
    NETWORKS,
    PRESETS,
    TRIALS,
    in_new_names,
)


def all_cases() -> Iterator[tuple[str, Callable[[], dict[str, np.ndarray]]]]:
    """Every case: its name, and what computes its numbers."""
    for name, case in NETWORKS.items():
        yield f"network/{name}", partial(library.network_case, case)
    yield "trials", library.trials
    yield "blocks", library.many
    for name in PRESETS:
        yield f"preset/{name}", partial(library.preset, name)
    for name in MEASURED:
        yield f"measured/{name}", partial(library.measured, name)


def compact(value: np.ndarray) -> np.ndarray:
    """The same numbers in single precision, or bytes where they were zeros and ones."""
    small = value.dtype in (np.uint8, np.bool_)
    return np.ascontiguousarray(value, np.uint8 if small else np.float32)


def main(folder: Path, only: tuple[str, ...]) -> None:
    """Compute all cases, or those whose names begin so, and write them; others there remain."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "numbers.safetensors"
    arrays = load_file(path) if path.exists() else {}
    for name, compute in all_cases():
        if only and not name.startswith(only):
            continue
        began = time.perf_counter()
        # Most of the time would go into compiling programs that each case uses once.
        with jax.disable_jit(not name.startswith("measured/")):
            found = compute()
        arrays = {key: value for key, value in arrays.items() if key.partition(":")[0] != name}
        arrays |= {f"{name}:{key}": compact(value) for key, value in found.items()}
        print(f"{time.perf_counter() - began:6.2f} s  {name}", flush=True)
    save_file(arrays, path)
    described = {
        "commit": "1ac8ea5",
        "networks": NETWORKS,
        "networks_in_new_names": {k: in_new_names(case) for k, case in NETWORKS.items()},
        "trials": TRIALS,
        "blocks": BLOCKS,
        "presets": PRESETS,
        "presets_in_full": library.presets_in_full(),
        "measured": MEASURED,
        "measuring": MEASURING,
    }
    (folder / "cases.json").write_text(json.dumps(described, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), tuple(sys.argv[2:]))
