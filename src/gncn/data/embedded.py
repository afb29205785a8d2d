"""The copy of MNIST inside this package: binarised, one bit a pixel, about 1.4 MB.

``assets/mnist.npz`` is an ordinary npz archive (members compressed with LZMA), so
``numpy.load`` alone reads it:

| member | type | shape | holds |
|---|---|---|---|
| train_images | uint8 | (60000, 28, 4) | ``numpy.packbits(images, axis=-1)`` |
| train_labels | uint8 | (60000,) | digit, 0..9 |
| test_images | uint8 | (10000, 28, 4) | as above |
| test_labels | uint8 | (10000,) | digit, 0..9 |

``images`` being (n, 28, 28) zeros and ones: pixel/255 >= 0.5. A row takes four
bytes, whose last four bits are unused (rows of whole bytes compress better). The
archive is written by ``scripts/pack_mnist.py``; ``assets/LICENSE-MNIST.md`` has the terms.
"""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from importlib.resources import files

import numpy as np
from jaxtyping import UInt8

from gncn.base.errors import DataError
from gncn.data.reading import UNREADABLE

MNIST_DIGEST = "sha256:a1d5bd90714c117b10f29362d69938eaad7b2f3370c164d10c4bf6b9aeb79f2c"
"""Hash of the embedded arrays, packed (see `arrays_digest`)."""

_MEMBERS = ("train_images", "train_labels", "test_images", "test_labels")
_WIDTH = 28
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time a zip can state: the same bytes every time


def pack_images(images: UInt8[np.ndarray, "n rows cols"]) -> UInt8[np.ndarray, "n rows bytes"]:
    """Pack zeros and ones into bits, each row of pixels into whole bytes.

    Args:
        images: zeros and ones, shape (n, rows, cols).

    Returns:
        Shape (n, rows, ceil(cols / 8)); the first pixel is the highest bit.
    """
    return np.packbits(images, axis=-1)


def unpack_images(
    packed: UInt8[np.ndarray, "n rows bytes"], cols: int
) -> UInt8[np.ndarray, "n rows cols"]:
    """Undo `pack_images`.

    Args:
        packed: what `pack_images` returned.
        cols: number of pixels in a row.
    """
    return np.unpackbits(packed, axis=-1, count=cols)


def write_archive(arrays: Mapping[str, UInt8[np.ndarray, "..."]]) -> bytes:
    """Return the bytes of an npz archive: the same arrays give the same bytes.

    The bytes also depend on the version of the LZMA library; the arrays read
    back from them don't.

    Args:
        arrays: arrays by member name.
    """
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, array in arrays.items():
            member = zipfile.ZipInfo(f"{name}.npy", date_time=_EPOCH)
            member.compress_type = zipfile.ZIP_LZMA
            member.create_system = 3
            member.external_attr = 0o644 << 16
            data = io.BytesIO()
            np.lib.format.write_array(data, array, version=(1, 0), allow_pickle=False)
            archive.writestr(member, data.getvalue())
    return stream.getvalue()


def arrays_digest(arrays: Mapping[str, UInt8[np.ndarray, "..."]]) -> str:
    """Return ``"sha256:..."`` over names, shapes and values of byte arrays, in order.

    Args:
        arrays: arrays by member name.
    """
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"sha256:{digest.hexdigest()}"


def read_packed_mnist() -> dict[str, UInt8[np.ndarray, "..."]]:
    """Read the embedded arrays as they are stored, and check their hash.

    Returns:
        The four members in the table above, in that order.

    Raises:
        DataError: the archive is missing, damaged or altered.
    """
    asset = files("gncn.data").joinpath("assets", "mnist.npz")
    advice = "Install the package again."
    try:
        with asset.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in _MEMBERS}
    except UNREADABLE as error:
        raise DataError(f"The embedded MNIST, {asset}, can't be read: {error}. {advice}") from error
    received = arrays_digest(arrays)
    if received != MNIST_DIGEST:
        raise DataError(
            f"The embedded MNIST, {asset}, was altered: expected content {MNIST_DIGEST}; received "
            f"{received}. {advice}"
        )
    return arrays


def read_mnist() -> dict[str, UInt8[np.ndarray, "..."]]:
    """Read the embedded MNIST.

    Returns:
        ``train_images`` (60000, 784) and ``test_images`` (10000, 784), zeros and
        ones in row-major order, with ``train_labels`` and ``test_labels``.

    Raises:
        DataError: the archive is missing, damaged or altered.
    """
    arrays = read_packed_mnist()
    for name in ("train_images", "test_images"):
        images = unpack_images(arrays[name], _WIDTH)
        arrays[name] = images.reshape(len(images), -1)
    return arrays
