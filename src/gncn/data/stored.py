"""NumPy's files, read without trusting them, and `StoredImages`, which stay in their file.

Before memory is taken for an array, its header is compared with the bytes that are there.  The
sizes that an archive promises are compared with the size of the archive.
"""

import io
import math
import mmap
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Float32, Int, UInt8
from numpy.lib import format as npy

from gncn.base.errors import DataError, quoted, shortened
from gncn.base.files import explained, opened

BLOCK_BYTES = 2**23
"""Bytes of a file that are looked at once when all of it is."""
ROWS_MAPPED = 256
"""Rows read before what was mapped for them is let go: a system may map 64 KiB for each."""

MAX_HEADER_BYTES = 10_000
"""Of a .npy file, as NumPy has it; an array of images takes 118."""
MAX_DIRECTORY_BYTES = 1 << 20
"""Of the list of arrays in a .npz file; six arrays take 400."""
ALWAYS_UNPACKED = 1 << 28
"""A .npz file may unpack to so many bytes, however small it is: binary MNIST as float32 has 220 MB,
and zeros pack to a thousandth."""
MAX_RATIO = 200
"""A larger one may unpack to so many times its size: binary images as float64 pack to a 60th."""


@dataclass(frozen=True, eq=False)
class StoredImages:
    """Images in a file, which stand where an array of images would.

    Indexing, ``images[rows]``, reads those images and gives an ordinary array.  Each time the
    file is checked to be still the one that was opened.  What was mapped is let go again, so that
    memory doesn't grow with the file.

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
        # Slices, masks and lists become row numbers.
        rows = index if numbers else np.asarray(np.arange(len(self))[index])
        # A subset's rows are numbers of rows of the file.
        rows = rows if self.rows is None else self.rows[rows]
        return self.see(self._read(np.atleast_1d(rows))).reshape(*rows.shape, -1)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All images in memory, for whatever takes arrays."""
        return self[:] if dtype is None else self[:].astype(dtype)

    def _read(self, rows: Int[np.ndarray, " images"]) -> np.ndarray:
        # Asked before each read: training on half-changed data would go unnoticed.
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
            # Pages that were read count as this process's memory until they are let go.
            self._mapping.madvise(mmap.MADV_DONTNEED)
        return found

    @cached_property
    def _mapping(self) -> mmap.mmap:
        return getattr(self.raw, "_mmap")  # noqa: B009 (no public name gives it)

    def subset(self, rows: Int[np.ndarray, " images"]) -> "StoredImages":
        """The images of the given rows, in the order given, still in the file."""
        return replace(self, rows=rows if self.rows is None else self.rows[rows])

    def joined(self, other: "StoredImages") -> "StoredImages":
        """These images and others of the same file, which stay in it."""
        rows = [np.arange(len(one.raw)) if one.rows is None else one.rows for one in (self, other)]
        return replace(self, rows=np.concatenate(rows))

    def blocks(self) -> Iterator[np.ndarray]:
        """All images, a few at a time."""
        size = max(1, BLOCK_BYTES // self.image_bytes)
        for start in range(0, len(self), size):
            yield self[np.arange(start, min(start + size, len(self)))]


def identify(path: Path) -> tuple[int, ...]:
    """The identity of a file, which changes with its content: place on disk, size, time.

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
    # Before mapping, so that a change in between is noticed.
    identity = identify(path)
    array = read_npy(path, mmap_mode="r")
    # In Fortran order the pixels of one image lie far apart.
    if not array.flags.c_contiguous:
        raise DataError(
            f"{path} holds its images interleaved (Fortran order), so that none can be read "
            "alone. Save it again with `numpy.save(path, numpy.ascontiguousarray(images))`."
        )
    return array, identity


def read_npy(path: Path, mmap_mode: Literal["r"] | None = None) -> np.ndarray:
    """The array in a .npy file, read, or mapped into memory.

    Raises:
        DataError: it can't be read, holds no array, or one that isn't of real numbers.
    """
    with _reading(path) as file:
        if _is_zip(file):
            raise DataError(
                f"{path} holds several arrays, as .npz files do; save one by `numpy.save`."
            )
        array = read_array(file, os.fstat(file.fileno()).st_size, only_check=mmap_mode is not None)
        return np.load(path, mmap_mode=mmap_mode, allow_pickle=False) if array is None else array


def read_npz(path: Path, check: Callable[[list[str]], None]) -> dict[str, np.ndarray]:
    """The arrays in a .npz file, by name; `check` refuses names before arrays are read.

    Raises:
        DataError: it can't be read or holds something else.
    """
    with _reading(path) as file:
        if not _is_zip(file):
            raise DataError(f"{path} holds one array, as .npy files do; save it by `numpy.savez`.")
        return unzip(file.raw, os.fstat(file.fileno()).st_size, check)


def unzip(raw: Any, n_bytes: int, check: Callable[[list[str]], None]) -> dict[str, np.ndarray]:
    """The arrays in the content of a .npz file.

    Args:
        raw: the content, as a raw binary stream.
        n_bytes: its length.
        check: receives the arrays' names before they are read.

    Raises:
        Exception: of many kinds; it is damaged, or would take too much memory.
    """
    with _SmallReads(raw) as reader, zipfile.ZipFile(reader) as archive:
        members = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
        check(list(members))
        # The archive's own list of its members; no byte is unpacked yet.
        unpacked = sum(one.file_size for one in members.values())
        if unpacked > max(ALWAYS_UNPACKED, MAX_RATIO * n_bytes):
            raise ValueError(f"{n_bytes:,} bytes would unpack to {unpacked:,}, too many for images")
        _check_memory(unpacked)
        arrays = {}
        for name, member in members.items():
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(f"{name[:80]!r} is compressed in a way that NumPy doesn't use")
            with archive.open(member) as opened_member:
                stream = cast(zipfile.ZipExtFile, opened_member)
                # Each member must begin as an array does, before NumPy looks at it.
                if not stream.peek(6).startswith(npy.MAGIC_PREFIX):
                    raise ValueError(f"it holds {quoted(name)}, which is no array")
                arrays[name] = read_array(stream, member.file_size)
    return arrays


def read_array(
    stream: io.BufferedIOBase, n_bytes: int, only_check: bool = False
) -> np.ndarray | None:
    """The array of real numbers in the content of a .npy file.

    Args:
        stream: the content.
        n_bytes: its length.
        only_check: read no more than the header, and return None.

    Raises:
        Exception: of many kinds; it is damaged, or promises more than the bytes that are there.
    """
    version = npy.read_magic(stream)
    start = stream.tell()
    # The header's length has two bytes in version 1 and four in version 2.
    length = int.from_bytes(stream.read(4 if version == (2, 0) else 2), "little")
    if version not in ((1, 0), (2, 0)) or length > MAX_HEADER_BYTES:
        raise ValueError(f"a header of version {version} and {length:,} bytes is nothing known")
    stream.seek(start)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read(stream)
    # Objects would have to be unpickled, which runs a stranger's code.
    if dtype.kind not in "biuf":
        kind = "pickled objects" if dtype.hasobject else quoted(dtype)
        raise ValueError(f"it must hold booleans, integers or floats; it holds {kind}")
    wanted, there = math.prod(shape) * dtype.itemsize, n_bytes - stream.tell()
    # The shape is a promise: memory is taken only if as many bytes are there.
    if min(shape, default=0) < 0 or wanted > there:
        raise ValueError(f"the shape {quoted(shape)} takes {wanted:,} bytes, and {there:,} follow")
    if only_check:
        return None
    _check_memory(wanted)
    # NumPy reads the header again, from the start.
    stream.seek(0)
    return npy.read_array(stream, allow_pickle=False)


class _SmallReads(io.BufferedReader):
    """Refuses to read much at once, as `zipfile` does where an archive lists too many entries."""

    # `zipfile` asks for the whole list of members in one read.
    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise zipfile.BadZipFile("it lists too many arrays")
        return super().read(size)


@contextmanager
def _reading(path: Path) -> Iterator[io.BufferedReader]:
    """A file, open for reading; a `DataError` if the block fails."""
    with explained(f"Can't read {path}", error=DataError):
        if not path.is_file():
            raise DataError(f"There is no file {path}. Correct the path.")
    try:
        with opened(path) as file:
            yield file
    except DataError:
        raise
    except OSError as error:
        raise DataError(f"Can't read {path}: {error.strerror or error}.") from error
    except Exception as error:  # NumPy raises a dozen kinds for files that were harmed
        raise DataError(
            f"{path} is damaged, cut short or holds no numbers: "
            f"{shortened(str(error), 300) or type(error).__name__}. Save it again with "
            "`numpy.save` or `numpy.savez`."
        ) from error


def _is_zip(file: io.BufferedReader) -> bool:
    # The second is an archive without members.
    return file.peek(4)[:4] in (b"PK\3\4", b"PK\5\6")


def _check_memory(n_bytes: int) -> None:
    """Refuse what fills more than half of the machine's memory, where the system says its size.

    Raises:
        DataError: it does.
    """
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return
    if n_bytes > memory / 2:
        raise DataError(
            f"Arrays of {n_bytes:,} bytes are too large for this machine's memory of {memory:,}. "
            "Leave the images in a .npy file with stream=True."
        )
