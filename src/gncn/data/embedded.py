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


def arrays_digest(arrays: Mapping[str, UInt8[np.ndarray, "..."]]) -> str:
    """Return ``"sha256:..."`` over names, shapes and values of byte arrays, in order."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name}{array.shape};".encode())
        digest.update(np.ascontiguousarray(array).data)
    return f"sha256:{digest.hexdigest()}"


def read_packed_mnist() -> dict[str, UInt8[np.ndarray, "..."]]:
    """Read the four arrays of the table above as they are stored, and check their hash.

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
        images = np.unpackbits(arrays[name], axis=-1, count=_WIDTH)
        arrays[name] = images.reshape(len(images), -1)
    return arrays
