"""Files: written whole or not at all, read as if a stranger had written them.

A reader of a file says how large it may be and how much it may hold.  More is refused before memory
is taken for it.
"""

import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from io import BufferedReader
from pathlib import Path
from typing import Any

from pydantic_core import to_jsonable_python

from gncn.base.errors import GncnError, RunError, quoted
from gncn.base.interrupts import interrupts_held

UNFINISHED = ".gncn-"
"""Begins the names of files and folders that are being written."""

MAX_JSON_BYTES = 1 << 26
"""The largest JSON file that gncn writes has some MB; this one takes half a GB to parse."""
MAX_VALUES = 1_000_000
"""Values in a JSON file.  A confusion matrix of 101 classes has 10,000."""
MAX_DEPTH = 32
"""Levels of nesting in JSON and TOML.  What recurses over parsed files needs no other limit."""

DAMAGED = (LookupError, AttributeError, TypeError, ValueError, ArithmeticError)
"""Errors that code raises on parsed JSON if it holds something else than it should."""


@contextmanager
def explained(what: str, advice: str = "", error: type[GncnError] = RunError) -> Iterator[None]:
    """Turn an `OSError` of the block into an `error`: `what` can't be done, and why."""
    try:
        yield
    except OSError as problem:
        raise error(f"{what}: {problem.strerror or problem}.{advice}") from problem
    except UnicodeEncodeError as problem:
        raise error(f"{what}: a name has bytes that are no text in {problem.encoding}.") from None


def place(path: str | os.PathLike[str]) -> Path:
    """The path that a user gave, with the home folder for ``~``: what takes paths calls this.

    Raises:
        RunError: no file can have this path, or there is no home folder.
    """
    why = "no file can have this name"
    if path == "":  # which would be the folder that one is in
        raise RunError("Can't use the path '': it is empty.")
    try:
        found = Path(path).expanduser()
        if b"\0" not in os.fsencode(found):
            return found
    except UnicodeError:
        why = f"the system's encoding of names, {sys.getfilesystemencoding()}, lacks its signs"
    except RuntimeError:
        why = "there is no such home folder; write the whole path"
    except TypeError:
        why = "a path is text"
    raise RunError(f"Can't use the path {quoted(path)}: {why}.")


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
        # In the same folder, since a rename is atomic only within one file system.
        temporary = unfinished(path.parent)
        try:
            with temporary.open("xb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                # On the disk before the rename: otherwise a loss of power could leave an empty file
                # under the name.
                os.fsync(file.fileno())
            temporary.replace(path)
        # Ctrl-C as well: nothing unfinished stays behind.
        except BaseException:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
    # The file is in place, so a failure here must not say that it wasn't written.
    with explained(f"{path} is written, but may not outlive a loss of power"):
        sync(path.parent)


def unfinished(folder: Path) -> Path:
    """A new name in a folder for what will be renamed once it is whole."""
    return folder / f"{UNFINISHED}{secrets.token_hex(8)}"


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
    """Remove the unfinished files and folders that killed processes left, as far as possible."""
    for path in folder.glob(f"{UNFINISHED}*"):
        # Exactly names of `unfinished`: a user's file may begin in the same way.
        if re.fullmatch(rf"{re.escape(UNFINISHED)}[0-9a-f]{{16}}", path.name):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                with suppress(OSError):
                    path.unlink()


@contextmanager
def opened(path: str | Path) -> Iterator[BufferedReader]:
    """A regular file, open for reading.

    Raises:
        OSError: it can't be opened, or is a folder, pipe or device, which may have no end.
    """

    def without_waiting(name: str, flags: int) -> int:  # for somebody to write into a pipe
        return os.open(name, flags | getattr(os, "O_NONBLOCK", 0))

    try:
        file = open(path, "rb", opener=without_waiting)  # noqa: SIM115 (closed below)
    except ValueError as error:  # the name holds what names can't
        raise OSError(errno.EINVAL, f"{error}") from error
    with file:
        # The null device stands for an empty file, as in `--config /dev/null`.
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode) and str(path) != os.devnull:
            raise OSError(errno.EINVAL, "it is a pipe or device; copy its content to a file")
        yield file


def read_bytes(path: str | Path, most: int, error: type[GncnError] = RunError) -> bytes:
    """The content of a regular file of at most `most` bytes.

    Raises:
        GncnError: of the class `error`; it can't be read, or is larger.
    """
    with explained(f"Can't read {path}", error=error), opened(path) as file:
        return read_rest(file, path, most, error)


def read_rest(
    file: BufferedReader, path: str | Path, most: int, error: type[GncnError] = RunError
) -> bytes:
    """The content of an opened file, from its start; see `read_bytes`."""
    size = os.fstat(file.fileno()).st_size
    file.seek(0)
    # One byte more than allowed or than its size tells of a file that is too large or growing.
    content = file.read(min(size, most) + 1)
    if max(size, len(content)) > most:
        raise error(f"{path} is larger than {most:,} bytes, the most that it may have.")
    if len(content) > size:
        raise error(f"{path} grows while it is read. Wait until it is whole, or copy it.")
    return content


@cache
def source_digest() -> str:
    """First 12 hexadecimal digits of a hash of the library's code."""
    with resources.as_file(resources.files("gncn")) as root:
        files = sorted(root.rglob("*.py"))
        # Sorted, and with names: a renamed file is another program.
        named = ((str(path.relative_to(root)), sha256(path.read_bytes())) for path in files)
        return sha256(repr(list(named)).encode())[:12]


def parse_json(content: bytes, most: int = MAX_VALUES) -> Any:
    """The value written in JSON, in UTF-8, with at most `most` values in it.

    Raises:
        ValueError: it isn't JSON, or there is too much of it; says why.
    """
    if sum(map(content.count, (b",", b"[", b"{"))) >= most:  # each value follows one of them
        raise ValueError(f"it holds more than {most:,} values")
    try:
        # Some editors put a mark of its encoding before the text.
        found = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_once_each)
    except RecursionError:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels") from None
    check_values(found)
    return found


def short_hash(value: Any, length: int = 12) -> str:
    """The first hexadecimal digits of the hash of a value of JSON's types, for names."""
    return sha256(json.dumps(value, sort_keys=True, default=str).encode())[:length]


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"it says {quoted(twice)} twice")
    return found


def check_values(found: Any) -> None:
    """Refuse parsed JSON or TOML that is nested too deeply or has numbers beyond 64 bits.

    Raises:
        ValueError: says which.
    """
    # Level by level, without recursion, which deep nesting could exhaust.
    level, depth = [found], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested deeper than {MAX_DEPTH} levels")
        if any(isinstance(one, int) and one.bit_length() > 64 for one in level):
            raise ValueError("it holds a whole number of more than 64 bits")
        dicts = [inner for one in level if isinstance(one, dict) for inner in one.values()]
        level = dicts + [inner for one in level if isinstance(one, list) for inner in one]
        depth += 1


def read_json(
    path: Path, max_bytes: int = MAX_JSON_BYTES, max_values: int = MAX_VALUES
) -> dict[str, Any]:
    """The JSON object in a file of at most `max_bytes` that holds at most `max_values`.

    Raises:
        RunError: it can't be read, is too large, or holds something else.
    """
    try:
        found = parse_json(read_bytes(path, max_bytes), max_values)
    except ValueError as error:
        raise RunError(f"{path} is not JSON: {error}.") from error
    if not isinstance(found, dict):
        raise RunError(f"{path} must hold a JSON object; it holds {quoted(found)}.")
    return found


def jsonable(value: Any, *, finite: bool = True) -> Any:
    """The same in JSON's types; numbers that are not finite, which JSON doesn't know, are None.

    Unless they may stay, by ``finite=False``.
    """
    mode = "null" if finite else "constants"
    return to_jsonable_python(value, inf_nan_mode=mode, fallback=lambda array: array.tolist())


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256 of `content`."""
    return hashlib.sha256(content).hexdigest()
