"""`parts_kept`: the results of an evaluation so far, so that a killed one can go on."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gncn.base.errors import RunError
from gncn.base.files import (
    DAMAGED,
    make_folder,
    read_bytes,
    sha256,
    short_hash,
    source_digest,
    sweep,
    write_atomic,
)
from gncn.base.tensors import pack, parse_tensors
from gncn.measures.subject import Keep
from gncn.training.checkpoints import environment

MAX_BYTES = 1 << 32
"""Of a part.  The mixture of a network with layers of 2,000 neurons has 1 GB."""
_REST, _ARRAY, _HASH = "rest", "\0array", 64
"""Names of a part without its arrays, and of what stands for an array in it; a hash's length."""


@contextmanager
def parts_kept(path: Path, identity: Mapping[str, Any], *, fresh: bool) -> Iterator[Keep]:
    """Keep parts in a folder, `path` and a number, until the block has ended.

    They serve an evaluation with the same `identity`, in JSON's types, code and versions.  All
    others are removed, and these too if the evaluation is to be `fresh`.
    """
    # Parts of other code, packages or devices could differ in their last digits.
    about = [identity, source_digest(), environment()]
    folder = path.with_name(f"{path.name}-{short_hash(about)}")
    for other in path.parent.glob(f"{path.name}-*"):
        # Of earlier code or settings, which nobody will ask for again.
        if fresh or other != folder:
            shutil.rmtree(other, ignore_errors=True)
    sweep(folder)

    def keep(name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        file = folder / f"{sha256(name.encode())[:16]}.part"
        try:
            content = read_bytes(file, MAX_BYTES)
            # Its hash comes first; a part that is damaged is computed again.
            if sha256(content[_HASH:]).encode() == content[:_HASH]:
                return _unpacked(content[_HASH:])
        except (RunError, *DAMAGED):  # it isn't there, or is damaged
            pass
        content = _packed(compute())
        make_folder(folder)
        write_atomic(file, sha256(content).encode() + content)
        # Unpacked even if it is new, so a value has the same types as one that was kept.
        return _unpacked(content)

    yield keep
    # Only a block that ended well gets here: parts outlive a kill or an error.
    shutil.rmtree(folder, ignore_errors=True)


def _packed(part: dict[str, Any]) -> bytes:
    arrays: dict[str, np.ndarray] = {}

    def refer(array: Any) -> dict[str, str]:
        arrays[str(len(arrays))] = np.asarray(array)
        return {_ARRAY: str(len(arrays) - 1)}

    text = json.dumps(part, default=refer).encode()
    return pack(arrays | {_REST: np.frombuffer(text, np.uint8)})


def _unpacked(content: bytes) -> dict[str, Any]:
    """A part as JSON's types and arrays: the same whether it was kept before or is new."""
    found = parse_tensors("a part", content)
    swap = lambda one: found[one[_ARRAY]] if _ARRAY in one else one  # noqa: E731
    return json.loads(found[_REST].tobytes(), object_hook=swap)
