"""Writing files so that a reader sees the old content or the new, never a part.

A file is written beside its destination, flushed to disk and then renamed.  If the
disk is full or the folder can't be written, the old file is still there.
"""

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gncn.base.errors import RunError


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace the content of `path`.

    Args:
        path: destination; its folder must exist.
        content: bytes, or text to be written as UTF-8.

    Raises:
        RunError: the file can't be written; says why.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = None
    try:
        with tempfile.NamedTemporaryFile(
            dir=path.parent, prefix=f".{path.name}.", delete=False
        ) as file:
            temporary = Path(file.name)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except OSError as error:
        raise RunError(
            f"Can't write {path}: {error.strerror or error}. What was there before is "
            "unchanged; free some space, or choose a folder that can be written."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def read_json(path: Path, max_bytes: int | None = None) -> dict[str, Any]:
    """The JSON object in a file, which may come from a stranger.

    Args:
        path: the file.
        max_bytes: the most that such a file can have.

    Raises:
        RunError: it can't be read, is too large, or holds something else.
    """
    try:
        if max_bytes is not None and path.stat().st_size > max_bytes:
            raise RunError(f"{path} is larger than {max_bytes} bytes: not what it should be.")
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise RunError(f"Can't read {path}: {error.strerror or error}.") from error
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} must hold a JSON object; it holds {str(found)[:80]!r}.")
    return found


def jsonable(value: Any) -> Any:
    """The same in JSON's types; numbers that are not finite, which JSON doesn't know, are None."""
    if isinstance(value, Mapping):
        return {key: jsonable(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(one) for one in value]
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()
