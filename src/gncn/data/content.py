"""Reading the files that data sets are distributed as (idx, gzipped idx, npz, mat), and our MNIST.

Files come from strangers, so nothing is unpickled, and decompression stops at the size expected.
Content is checked against a known hash before it is parsed.

MNIST is embedded in this package, in 1.4 MB: ``assets/mnist.npz``, written by
``scripts/pack_mnist.py``, holds ``train_images`` (60000, 28, 4), ``test_images`` (10000, 28, 4),
``train_labels`` and ``test_labels``. A row of 28 zeros and ones (pixel/255 >= 0.5) takes four
bytes, by ``numpy.packbits``: rows of whole bytes compress better.
"""

import hashlib
import io
import math
import zlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gncn.base.errors import DataError, quoted, shortened
from gncn.base.extras import needs
from gncn.base.files import read_bytes
from gncn.data.registry import DataFile, DatasetInfo, owner_of
from gncn.data.stored import unzip
from gncn.data.types import Split

MNIST_DIGEST = "sha256:a1d5bd90714c117b10f29362d69938eaad7b2f3370c164d10c4bf6b9aeb79f2c"
"""Hash of the embedded arrays, packed (see `arrays_digest`)."""

_MNIST_WIDTH = 28
_IDX_UINT8 = 0x08
MAX_MAT_BYTES = 1 << 24
"""The larger of the two .mat files has 872,124 bytes."""
_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"


class MissingFileError(DataError):
    """A file of a data set is neither here nor could be downloaded."""


class AlteredFileError(DataError):
    """A file is there, but it is damaged or holds something else than it should."""


class ForeignFileError(AlteredFileError):
    """A file is there and sound, but belongs to another data set of the same layout."""


def read_verified(path: Path, info: DatasetInfo, file: DataFile) -> bytes:
    """Read a file as `verified_content` does; its errors say the path and what to do."""
    advice = f"Delete it and run `gncn data fetch {info.name}`."
    try:
        raw = read_bytes(path, largest_file(file), AlteredFileError)
    except AlteredFileError as error:
        raise AlteredFileError(f"{error} {advice}") from error
    try:
        return verified_content(raw, info, file)
    except AlteredFileError as error:
        if isinstance(error, ForeignFileError):
            advice = f"Keep each data set in a folder of its own, such as {info.folders[0]}."
        elif info.hint:
            advice = f"{info.hint} {advice}"
        raise type(error)(f"{path} is {error}. {advice}") from error


def largest_file(file: DataFile) -> int:
    """The most bytes that a file of a data set may have.

    It is an .npz file with 8 bytes a value, or a .mat file.
    """
    return MAX_MAT_BYTES if file.shape is None else 8 * math.prod(file.shape) + 4096


def verified_content(raw: bytes, info: DatasetInfo, file: DataFile) -> bytes:
    """Unpack the bytes of a file of a data set and check them against its hash.

    Returns:
        Idx bytes, from a file that is idx, gzipped idx or npz; or the whole of a .mat file.

    Raises:
        AlteredFileError: the bytes can't be unpacked, or have another hash. The
            message is the end of a sentence that begins "the file is".
        ForeignFileError: they are sound, but a file of another data set.
    """
    try:
        content = _content(raw, file)
    except Exception as error:  # NumPy and zipfile raise a dozen kinds for files that were harmed
        raise AlteredFileError(
            f"damaged or cut short: {shortened(str(error), 300)} (expected content "
            f"{file.digest}; received {len(raw)} bytes whose own hash is {_digest(raw, 'sha256')})"
        ) from error
    # By the kind of hash on record: KMNIST's training images are known by their MD5 alone.
    received = _digest(content, file.digest.partition(":")[0])
    if received == file.digest:
        return content
    hashes = f"(expected content {file.digest}; received {received})"
    # Data sets of one layout are easily mixed up, so the message says whose file this is.
    owner = owner_of({_digest(content, "sha256"), _digest(content, "md5")})
    if owner is not None and owner != info.name:
        raise ForeignFileError(f"a file of {owner!r}, not of {info.name!r} {hashes}")
    raise AlteredFileError(f"not the {info.name} file it should be {hashes}")


def parse_idx(content: bytes, shape: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """The array of a shape that decompressed idx bytes should hold.

    The format: two zero bytes, a byte for the type (8: unsigned byte), a byte for
    the number of axes, each axis as a big-endian 4-byte integer, then the values.

    Raises:
        DataError: the bytes are not an idx array of that shape.
    """
    header = _idx_header(shape)
    if content[: len(header)] != header or len(content) != len(header) + math.prod(shape):
        raise DataError(
            f"Expected an idx file of unsigned bytes of shape {shape}, {len(header)} bytes of "
            f"header {header.hex()} and {math.prod(shape)} of values; received {len(content)} "
            f"bytes that begin with {content[: len(header)].hex()}."
        )
    return np.frombuffer(content, np.uint8, offset=len(header)).reshape(shape)


def to_idx(array: UInt8[np.ndarray, "..."]) -> bytes:
    """The idx bytes of an array: the inverse of `parse_idx`."""
    return _idx_header(array.shape) + array.tobytes()


def parse_silhouettes(content: bytes, info: DatasetInfo) -> tuple[Split, Split, Split]:
    """The official splits (train, validation, test) in a CalTech 101 Silhouettes .mat file.

    The file, whose hash was checked, holds each image column by column (MATLAB's order)
    with foreground 0 and labels from 1. Here images are upright rows of pixels with
    foreground 1, as in MNIST, and labels count from 0.
    """
    needs("scipy", "evaluation")
    from scipy.io import loadmat

    arrays = loadmat(io.BytesIO(content))
    rows, cols = info.image_shape

    def split(name: str) -> Split:
        # Columns were stored one after the other, so an image is the transpose of what is read.
        stored = arrays[f"{name}_data"].reshape(-1, cols, rows).transpose(0, 2, 1)
        labels = arrays[f"{name}_labels"][:, 0].astype(np.int32) - 1
        return Split(1 - stored.reshape(len(stored), -1), labels)

    return split("train"), split("val"), split("test")


def read_mnist() -> dict[str, UInt8[np.ndarray, "..."]]:
    """The embedded MNIST, images as rows of 784 zeros and ones; see `read_packed_mnist`."""
    arrays = read_packed_mnist()
    for name in ("train_images", "test_images"):
        images = np.unpackbits(arrays[name], axis=-1, count=_MNIST_WIDTH)
        arrays[name] = images.reshape(len(images), -1)
    return arrays


def read_packed_mnist() -> dict[str, UInt8[np.ndarray, "..."]]:
    """The four arrays of the embedded MNIST as they are stored, checked against their hash.

    Raises:
        DataError: the archive is missing, damaged or altered.
    """
    asset = files("gncn.data").joinpath("assets", "mnist.npz")
    advice = "Install the package again."
    members = ("train_images", "train_labels", "test_images", "test_labels")
    try:
        with asset.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in members}
    except Exception as error:  # NumPy raises a dozen kinds for files that were harmed
        raise DataError(f"The embedded MNIST, {asset}, can't be read: {error}. {advice}") from error
    # Hashed as unpacked, so another way of packing them is no alteration.
    received = arrays_digest(arrays)
    if received != MNIST_DIGEST:
        raise DataError(
            f"The embedded MNIST, {asset}, was altered: expected content {MNIST_DIGEST}; received "
            f"{received}. {advice}"
        )
    return arrays


def arrays_digest(arrays: Mapping[str, UInt8[np.ndarray, "..."]]) -> str:
    """``"sha256:..."`` over names, shapes and values of byte arrays, in order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"sha256:{digest.hexdigest()}"


def _idx_header(shape: tuple[int, ...]) -> bytes:
    axes = b"".join(size.to_bytes(4, "big") for size in shape)
    return bytes((0, 0, _IDX_UINT8, len(shape))) + axes


def _content(raw: bytes, file: DataFile) -> bytes:
    if file.shape is None:
        return raw
    if raw.startswith(_GZIP_MAGIC):
        # No more than an idx file of this shape has; a byte beyond that shows that there is too
        # much.
        limit = len(_idx_header(file.shape)) + math.prod(file.shape)
        unpacker = zlib.decompressobj(16 + zlib.MAX_WBITS)  # 16: it begins as gzip does
        content = unpacker.decompress(raw, limit + 1)
        if not unpacker.eof and len(content) <= limit:
            raise ValueError("the compressed bytes end too early")
        return content
    return _npz_content(raw, file.shape) if raw.startswith(_ZIP_MAGIC) else raw


def _npz_content(raw: bytes, shape: tuple[int, ...]) -> bytes:
    def check(members: list[str]) -> None:
        if members != ["arr_0"]:
            raise ValueError(f"expected one array, 'arr_0'; received {quoted(members)}")

    (array,) = unzip(io.BytesIO(raw), len(raw), check).values()
    # Asked before the conversion to bytes, which would wrap other values around.
    if array.dtype.kind not in "iu" or array.min() < 0 or array.max() > 255:
        raise ValueError(f"expected integers within 0..255; received {array.dtype}")
    return to_idx(array.astype(np.uint8))


def _digest(content: bytes, algorithm: str) -> str:
    # MD5 serves to recognise a file, which systems that forbid it for security allow.
    return f"{algorithm}:{hashlib.new(algorithm, content, usedforsecurity=False).hexdigest()}"
