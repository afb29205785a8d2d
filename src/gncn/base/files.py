"""Files: written whole or not at all, read as if a stranger had written them."""

import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from gncn.base.errors import RunError
from gncn.base.interrupts import interrupts_held

UNFINISHED = ".gncn-"
"""Begins the names of files that are being written."""


@contextmanager
def explained(what: str, advice: str = "") -> Iterator[None]:
    """Turn an `OSError` of the block into a `RunError`: `what` can't be done, and why."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{what}: {error.strerror or error}.{advice}") from error


def make_folder(path: Path) -> None:
    """Make a folder and those above it, where they are missing.

    Raises:
        RunError: it can't be made.
    """
    with explained(f"Can't make the folder {path}"):
        path.mkdir(parents=True, exist_ok=True)


def write_atomic(path: Path, content: bytes | str) -> None:
    """Replace the content of `path`, such that a reader sees the old content or the new.

    The new content (text as UTF-8) is written next to the file, flushed to disk and then
    renamed.  The folder must exist.  The umask decides who may read the file.

    Raises:
        RunError: the file can't be written; says why.
    """
    unchanged = (
        " What was there before is unchanged; free some space, or choose a folder that can be "
        "written."
    )
    with explained(f"Can't write {path}", unchanged), interrupts_held():
        temporary = path.with_name(f"{UNFINISHED}{secrets.token_hex(8)}")
        try:
            with temporary.open("xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def sync(folder: Path) -> None:
    """Flush a folder's entries to disk, so that a rename in it outlives a loss of power."""
    if os.name == "nt":  # Windows doesn't open folders
        return
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sweep(folder: Path) -> None:
    """Remove the unfinished files that killed processes left in a folder."""
    for path in folder.glob(f"{UNFINISHED}*"):
        if re.fullmatch(rf"{re.escape(UNFINISHED)}[0-9a-f]{{16}}", path.name):
            path.unlink(missing_ok=True)


def read_json(path: Path, max_bytes: int | None = None) -> dict[str, Any]:
    """The JSON object in a file of at most `max_bytes`.

    Raises:
        RunError: it can't be read, is too large, or holds something else.
    """
    try:
        with explained(f"Can't read {path}"):
            if max_bytes is not None and path.stat().st_size > max_bytes:
                raise RunError(f"{path} is larger than {max_bytes} bytes: not what it should be.")
            found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} must hold a JSON object; it holds {str(found)[:80]!r}.")
    return found


def jsonable(value: Any) -> Any:
    """The same in JSON's types; numbers that are not finite, which JSON doesn't know, are None."""
    return to_jsonable_python(value, inf_nan_mode="null", fallback=lambda array: array.tolist())


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()
