"""`parts_kept`: what an evaluation has measured so far, from which one that was killed goes on."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as save_tensors

from gncn.base.errors import RunError
from gncn.base.files import DAMAGED, make_folder, sha256, sweep, write_atomic
from gncn.base.tensors import read_tensors
from gncn.measures.subject import Keep
from gncn.training.checkpoints import PACKAGES

MAX_BYTES = 1 << 32
"""Of a part.  The mixture of a network with layers of 2,000 neurons has 1 GB."""
_REST, _ARRAY = "rest", "\0array"
"""Names of a part without its arrays, and of what stands for an array in it."""


@contextmanager
def parts_kept(path: Path, identity: Mapping[str, Any], *, anew: bool) -> Iterator[Keep]:
    """Keep parts in a folder, `path` and a number, until the block has ended or failed.

    They serve who has the same `identity`, in JSON's types, and versions of packages.  Others'
    are removed, and all if the evaluation is to be `anew`.
    """
    about = [identity, *map(metadata.version, PACKAGES)]
    folder = path.with_name(f"{path.name}-{sha256(json.dumps(about).encode())[:12]}")
    for other in path.parent.glob(f"{path.name}-*"):
        if anew or other != folder:
            shutil.rmtree(other, ignore_errors=True)
    sweep(folder)

    def keep(name: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        file = folder / f"{sha256(name.encode())[:16]}.safetensors"
        try:
            found = read_tensors(file, MAX_BYTES)
            swap = lambda one: found[one[_ARRAY]] if _ARRAY in one else one  # noqa: E731
            return json.loads(found[_REST].tobytes(), object_hook=swap)
        except (RunError, *DAMAGED):  # it isn't there, or is damaged
            made, arrays = compute(), dict[str, np.ndarray]()

        def refer(array: Any) -> dict[str, str]:
            arrays[str(len(arrays))] = np.asarray(array)
            return {_ARRAY: str(len(arrays) - 1)}

        text = json.dumps(made, default=refer).encode()
        make_folder(folder)
        write_atomic(file, save_tensors(arrays | {_REST: np.frombuffer(text, np.uint8)}))
        return made

    try:
        yield keep
    except Exception:  # the next may measure with another code
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder, ignore_errors=True)
