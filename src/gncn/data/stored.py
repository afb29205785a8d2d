"""NumPy's files, read without trusting them, and `StoredImages`, which stay in their file."""

import mmap
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int, UInt8

from gncn.base.errors import DataError

BLOCK_BYTES = 2**23
"""Bytes of a file that are looked at once when all of it is."""
ROWS_MAPPED = 256
"""Rows read before what was mapped for them is let go: a system may map 64 KiB for each."""


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Images in a file, which stand where an array of images would.

    Indexing, ``images[rows]``, reads those images and gives an ordinary array.  Each time
    it is made sure that the file is still the one that was opened, and what was mapped is
    let go again, so that memory doesn't grow with the file.

    Attributes:
        path: the file.
        raw: its content, memory-mapped, shape (rows of the file, pixels).
        see: turns rows as the file has them into images.
        dtype: of images: uint8 (zeros and ones) or float32.
        identity: what tells the file from a changed one; see `identify`.
        rows: which rows of the file are images here, in this order; None for all.
    """

    path: Path
    raw: np.ndarray
    see: Callable[[np.ndarray], np.ndarray]
    dtype: np.dtype
    identity: tuple[int, ...]
    rows: Int[np.ndarray, " images"] | None = None

    def __len__(self) -> int:
        return len(self.raw) if self.rows is None else len(self.rows)

    @property
    def shape(self) -> tuple[int, int]:
        """Images and pixels."""
        return len(self), self.raw.shape[1]

    @property
    def image_bytes(self) -> int:
        """Bytes that an image takes in the file."""
        return self.raw.shape[1] * self.raw.itemsize

    def __getitem__(
        self, index: Any
    ) -> UInt8[np.ndarray, "*images pixels"] | Float32[np.ndarray, "*images pixels"]:
        numbers = isinstance(index, np.ndarray) and index.dtype.kind in "iu"
        rows = index if numbers else np.asarray(np.arange(len(self))[index])
        rows = rows if self.rows is None else self.rows[rows]
        return self.see(self._read(np.atleast_1d(rows))).reshape(*rows.shape, -1)

    def _read(self, rows: Int[np.ndarray, " images"]) -> np.ndarray:
        if identify(self.path) != self.identity:
            raise DataError(
                f"{self.path} was changed while its images were in use. Leave it as it is until "
                "training has ended, and start again."
            )
        order = np.argsort(rows, kind="stable")  # from the file's beginning to its end
        found = np.empty((len(rows), self.raw.shape[1]), self.raw.dtype)
        for start in range(0, len(rows), ROWS_MAPPED):
            some = order[start : start + ROWS_MAPPED]
            found[some] = self.raw[rows[some]]
            self._mapping.madvise(mmap.MADV_DONTNEED)
        return found

    @cached_property
    def _mapping(self) -> mmap.mmap:
        return getattr(self.raw, "_mmap")  # noqa: B009 (no public name gives it)

    def subset(self, rows: Int[np.ndarray, " images"]) -> "StoredImages":
        """The images of the given rows, in the order given, still in the file."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def blocks(self) -> Iterator[np.ndarray]:
        """All images, a few at a time."""
        size = max(1, BLOCK_BYTES // self.image_bytes)
        for start in range(0, len(self), size):
            yield self[np.arange(start, min(start + size, len(self)))]


def identify(path: Path) -> tuple[int, ...]:
    """What changes with a file's content: its place on disk, its size, its time.

    Raises:
        DataError: there is no such file, or it can't be read.
    """
    try:
        found = path.stat()
    except OSError as error:
        raise DataError(
            f"Can't read {path}: {error.strerror or error}. It must stay where it is until "
            "training has ended."
        ) from error
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def map_file(path: Path) -> tuple[np.ndarray, tuple[int, ...]]:
    """Memory-map the array in a .npy file.

    Returns:
        The array, and the file's identity.

    Raises:
        DataError: there is no such file, it is of another kind, damaged or cut short, or
            its images are not stored one after the other.
    """
    if path.suffix != ".npy":
        raise DataError(
            f"Only .npy files can be streamed; received {path}. Save the images alone, with "
            "`numpy.save`."
        )
    identity = identify(path)
    array = read_npy(path, mmap_mode="r")
    if not array.flags.c_contiguous:
        raise DataError(
            f"{path} holds its images interleaved (Fortran order), so that none can be read "
            "alone. Save it again with `numpy.save(path, numpy.ascontiguousarray(images))`."
        )
    return array, identity


def read_npy(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """The array in a .npy file, read, or mapped into memory.

    Raises:
        DataError: it can't be read or holds no array.
    """
    found = _load(path, mmap_mode)
    if isinstance(found, dict):
        raise DataError(f"{path} holds several arrays, as .npz files do; save one by `numpy.save`.")
    return found


def read_npz(path: Path) -> dict[str, np.ndarray]:
    """The arrays in a .npz file, by name.

    Raises:
        DataError: it can't be read or holds something else.
    """
    found = _load(path)
    if not isinstance(found, dict):
        raise DataError(f"{path} holds one array, as .npy files do; save it by `numpy.savez`.")
    for name, member in found.items():
        if not isinstance(member, np.ndarray):
            raise DataError(f"{path} holds {name!r}, which is no array. Save it by `numpy.savez`.")
    return found


def _load(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray | dict[str, Any]:
    if not path.is_file():
        raise DataError(f"There is no file {path}. Correct the path.")
    try:
        with path.open("rb") as stream:
            several = zipfile.is_zipfile(stream)
            stream.seek(0)
            source = stream if several or mmap_mode is None else path
            found = np.load(source, mmap_mode=mmap_mode, allow_pickle=False)
            return dict(found) if several else found
    except Exception as error:  # NumPy raises a dozen kinds for files that were harmed
        raise DataError(
            f"{path} is damaged, cut short or holds pickled objects: "
            f"{error or type(error).__name__}. Save it again with `numpy.save` or `numpy.savez`."
        ) from error
