"""Reading NumPy's files, which come from anywhere, without trusting them."""

import lzma
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import numpy as np

from gncn.base.errors import DataError

UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    SyntaxError,
    OverflowError,
    MemoryError,
    NotImplementedError,
    RuntimeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    tokenize.TokenError,
)
"""What NumPy raises for files that are damaged, cut short or made to do harm."""


def read_npy(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """The array in a .npy file.

    Args:
        path: the file.
        mmap_mode: ``r`` to map it into memory rather than to read it.

    Raises:
        DataError: it can't be read or holds no array.
    """
    with _opened(path) as stream:
        if not zipfile.is_zipfile(stream):
            stream.seek(0)
            source = stream if mmap_mode is None else path
            return np.load(source, mmap_mode=mmap_mode, allow_pickle=False)
    raise DataError(f"{path} holds several arrays, as .npz files do; save one by `numpy.save`.")


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a .npz file, by name.

    Raises:
        DataError: it can't be read or holds something else.
    """
    with _opened(path) as stream:
        found = np.load(stream, allow_pickle=False)
        members = {} if isinstance(found, np.ndarray) else {n: found[n] for n in found.files}
    if isinstance(found, np.ndarray):
        raise DataError(f"{path} holds one array, as .npy files do; save it by `numpy.savez`.")
    for name, member in members.items():
        if not isinstance(member, np.ndarray):
            raise DataError(f"{path} holds {name!r}, which is no array. Save it by `numpy.savez`.")
    return members


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """A file that is read by NumPy, whose errors become ours."""
    if not path.is_file():
        raise DataError(f"There is no file {path}. Correct the path.")
    try:
        with path.open("rb") as stream:
            yield stream
    except UNREADABLE as error:
        if isinstance(error, DataError):
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: BaseException) -> DataError:
    return DataError(
        f"{path} is damaged, cut short or holds pickled objects: {error or type(error).__name__}. "
        "Save it again with `numpy.save` or `numpy.savez`."
    )
