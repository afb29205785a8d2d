"""Pack MNIST into the archive that the package embeds (src/gncn/data/assets/mnist.npz).

Reads the four original idx files, checks their SHA-256, binarises the images at
pixel/255 >= 0.5 and writes them with one bit a pixel. The same files always give
the same arrays, and with the same LZMA library the same bytes.
"""

import argparse
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gncn.base.errors import GncnError
from gncn.base.files import write_atomic
from gncn.data.content import MNIST_DIGEST, arrays_digest, parse_idx, read_verified
from gncn.data.registry import dataset_info

OUTPUT = Path(__file__).resolve().parent.parent / "src" / "gncn" / "data" / "assets" / "mnist.npz"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can state, so that the bytes are the same every time."""


def pack(folder: Path) -> dict[str, UInt8[np.ndarray, "..."]]:
    """Read, verify, binarise and pack the files of MNIST.

    Args:
        folder: holds the four idx files, gzipped or not.

    Returns:
        The members of the archive, in their order; see `gncn.data.content`.

    Raises:
        gncn.base.errors.DataError: a file is damaged or altered.
        OSError: a file is missing or can't be read.
    """
    info = dataset_info("mnist")
    arrays = {}
    for file in info.files:
        names = [name for name in file.file_names if (folder / name).is_file()]
        path = folder / (names or file.file_names)[0]
        assert file.shape is not None
        array = parse_idx(read_verified(path, info, file), file.shape)
        if array.ndim == 3:
            # 127.5 of 255 is the paper's threshold of 0.5.
            array = np.packbits(array >= 127.5, axis=-1)
        arrays[file.part] = array
    return arrays


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
            member = zipfile.ZipInfo(f"{name}.npy", date_time=EPOCH)
            member.compress_type = zipfile.ZIP_LZMA
            # As on Unix, whatever system writes it, so that the bytes are the same.
            member.create_system = 3
            member.external_attr = 0o644 << 16
            data = io.BytesIO()
            np.lib.format.write_array(data, array, version=(1, 0), allow_pickle=False)
            archive.writestr(member, data.getvalue())
    return stream.getvalue()


def main(arguments: list[str] | None = None) -> None:
    """Run the script.

    Args:
        arguments: the command line; None for `sys.argv`.
    """
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="example: python scripts/pack_mnist.py ~/data/mnist",
    )
    parser.add_argument(
        "folder",
        type=Path,
        help="folder of train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte "
        "and t10k-labels-idx1-ubyte, as they are or gzipped (.gz)",
    )
    parser.add_argument(
        "--output", type=Path, default=OUTPUT, help="archive to write (default: %(default)s)"
    )
    parser.add_argument(
        "--new-digest",
        action="store_true",
        help="write the archive even if its arrays differ from those on record; then set "
        "MNIST_DIGEST in src/gncn/data/content.py to the hash printed",
    )
    options = parser.parse_args(arguments)
    try:
        arrays = pack(options.folder)
    except GncnError as error:
        parser.exit(2, f"pack_mnist: {error}\n")
    except OSError as error:
        parser.exit(2, f"pack_mnist: can't read {error.filename}: {error.strerror}\n")
    digest = arrays_digest(arrays)
    if digest != MNIST_DIGEST and not options.new_digest:
        parser.exit(
            1,
            f"pack_mnist: the arrays have the hash {digest}; on record is {MNIST_DIGEST}. If the "
            "change is meant, pass --new-digest.\n",
        )
    content = write_archive(arrays)
    try:
        write_atomic(options.output, content)
    except GncnError as error:
        parser.exit(2, f"pack_mnist: {error}\n")
    print(f"{options.output}: {len(content)} bytes, arrays {digest}")


if __name__ == "__main__":
    main()
