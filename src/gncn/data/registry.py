"""The data sets known by name: their files, hashes, mirrors, sizes and licences.

Hashes are of the *content* of a file: the decompressed bytes of an idx file
(mirrors compress differently; an ``.npz`` is turned into idx bytes first), and
the whole file for a ``.mat``.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from gncn.base.errors import unknown_choice

Part = Literal["train_images", "train_labels", "test_images", "test_labels", "all"]
"""What a file holds."""


@dataclass(frozen=True)
class DataFile:
    """A file of a data set, in whichever form it is distributed.

    Attributes:
        part: what it holds.
        digest: ``"sha256:..."`` or ``"md5:..."`` of its content (see the module).
        shape: shape of the uint8 array in an idx file; None for a .mat file.
        urls: official addresses and mirrors, tried in this order. The last part
            of each is a name that the file goes by.
    """

    part: Part
    digest: str
    shape: tuple[int, ...] | None
    urls: tuple[str, ...]

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names under which the file is looked for: gzipped, plain idx, npz, mat."""
        names = [PurePosixPath(url).name for url in self.urls]
        plain = [name.removesuffix(".gz") for name in names]
        return tuple(dict.fromkeys((*names, *plain)))


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set, without its data.

    Attributes:
        name: the name `gncn.data.load_dataset` takes.
        title: what it shows.
        n_train: number of training images, before any validation split.
        n_validation: size of the validation split by the data set's own rule.
        official_validation: whether the data set comes with its own validation
            split (`n_train` excludes it); otherwise it is taken from training.
        n_test: number of test images.
        image_shape: (rows, cols).
        n_classes: number of classes.
        licence: terms of use.
        creators: whom to credit.
        homepage: where its authors describe it.
        folders: names of the folders its files are looked for in.
        files: its files; empty for data that come with an installed package.
        origin: ``"embedded"`` in this package, ``"scikit-learn"`` for data that
            come with it, or ``"files"``.
        hint: what is worth knowing when a file is missing or has another hash.
    """

    name: str
    title: str
    n_train: int
    n_validation: int
    n_test: int
    image_shape: tuple[int, int]
    n_classes: int
    licence: str
    creators: str
    homepage: str
    folders: tuple[str, ...] = ()
    files: tuple[DataFile, ...] = ()
    origin: Literal["embedded", "scikit-learn", "files"] = "files"
    official_validation: bool = False
    hint: str = ""


def _idx_files(bases: tuple[str, ...], digests: tuple[str, str, str, str]) -> tuple[DataFile, ...]:
    """Describe the four files of a data set laid out like MNIST."""
    parts: tuple[tuple[Part, str, tuple[int, ...]], ...] = (
        ("train_images", "train-images-idx3-ubyte.gz", (60_000, 28, 28)),
        ("train_labels", "train-labels-idx1-ubyte.gz", (60_000,)),
        ("test_images", "t10k-images-idx3-ubyte.gz", (10_000, 28, 28)),
        ("test_labels", "t10k-labels-idx1-ubyte.gz", (10_000,)),
    )
    return tuple(
        DataFile(part, digest, shape, tuple(base + name for base in bases))
        for (part, name, shape), digest in zip(parts, digests, strict=True)
    )


def _with_npz(files: tuple[DataFile, ...], base: str) -> tuple[DataFile, ...]:
    """Add KMNIST's second official form, one npz file for each idx file."""
    names = ("train-imgs", "train-labels", "test-imgs", "test-labels")
    return tuple(
        DataFile(file.part, file.digest, file.shape, (*file.urls, f"{base}kmnist-{name}.npz"))
        for file, name in zip(files, names, strict=True)
    )


def _caltech(size: int, digest: str, n_train: int, n_validation: int, n_test: int) -> DatasetInfo:
    official = f"people.cs.umass.edu/~marlin/data/caltech101_silhouettes_{size}_split1.mat"
    return DatasetInfo(
        name=f"caltech-{size}",
        title=f"CalTech 101 Silhouettes {size}x{size}, split 1",
        n_train=n_train,
        n_validation=n_validation,
        n_test=n_test,
        image_shape=(size, size),
        n_classes=101,
        licence="none stated",
        creators="B. Marlin, from CalTech 101",
        homepage="https://people.cs.umass.edu/~marlin/data.shtml",
        folders=("caltech101-silhouettes", f"caltech-{size}"),
        files=(
            DataFile(
                "all",
                digest,
                None,
                (f"https://{official}", f"https://web.archive.org/web/2020id_/https://{official}"),
            ),
        ),
        official_validation=True,
    )


_MNIST = DatasetInfo(
    name="mnist",
    title="Handwritten digits",
    n_train=60_000,
    n_validation=2_000,
    n_test=10_000,
    image_shape=(28, 28),
    n_classes=10,
    licence="CC BY-SA 3.0",
    creators="Y. LeCun, C. Cortes, C. J. C. Burges",
    homepage="http://yann.lecun.com/exdb/mnist/",
    folders=("mnist",),
    files=_idx_files(
        (
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            "https://storage.googleapis.com/cvdf-datasets/mnist/",
        ),
        (
            "sha256:ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
            "sha256:65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
            "sha256:0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
            "sha256:ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ),
    origin="embedded",
    hint="MNIST comes with this package: leave out the data folder to use the embedded copy.",
)

_FASHION_MNIST = DatasetInfo(
    name="fashion-mnist",
    title="Articles of clothing",
    n_train=60_000,
    n_validation=2_000,
    n_test=10_000,
    image_shape=(28, 28),
    n_classes=10,
    licence="MIT",
    creators="Zalando SE",
    homepage="https://github.com/zalandoresearch/fashion-mnist",
    folders=("fashion-mnist",),
    files=_idx_files(
        (
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
            "https://storage.googleapis.com/tensorflow/tf-keras-datasets/",
        ),
        (
            "sha256:c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            "sha256:bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            "sha256:5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            "sha256:0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ),
)

_KMNIST = DatasetInfo(
    name="kmnist",
    title="Kuzushiji-MNIST: cursive Japanese characters",
    n_train=60_000,
    n_validation=2_000,
    n_test=10_000,
    image_shape=(28, 28),
    n_classes=10,
    licence="CC BY-SA 4.0",
    creators="CODH, adapted from the Kuzushiji Dataset of NIJL and others, doi:10.20676/00000341",
    homepage="http://codh.rois.ac.jp/kmnist/",
    folders=("kmnist",),
    files=_with_npz(
        _idx_files(
            (
                "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
                "http://codh.rois.ac.jp/kmnist/dataset/kmnist/",
            ),
            (
                # For the training files an MD5 is on record, and no SHA-256.
                "md5:92be26ec9822e900ac425d0a0aa84ced",
                "md5:949e75301f8813e0dc5800dcc320fc52",
                "sha256:76fbd229ce87db80dd281af5e6670de4ad0e42fb30a7bd643972994c47c1f42e",
                "sha256:a11dc742be8e781a40a92f53d6a4957e7b7d36df2faa097659131ebfd8fd60c6",
            ),
        ),
        "https://codh.rois.ac.jp/kmnist/dataset/kmnist/",
    ),
    hint=(
        "KMNIST was corrected in February 2019: the first release, of December 2018, still "
        "circulates (88 of its test images differ) and is refused."
    ),
)

_DIGITS = DatasetInfo(
    name="digits",
    title="Handwritten digits, small (optdigits, UCI)",
    n_train=1_500,
    n_validation=200,
    n_test=297,
    image_shape=(8, 8),
    n_classes=10,
    licence="CC BY 4.0",
    creators="E. Alpaydin, C. Kaynak, UCI Machine Learning Repository",
    homepage="https://archive.ics.uci.edu/dataset/80",
    origin="scikit-learn",
)

_DATASETS = {
    info.name: info
    for info in (
        _MNIST,
        _FASHION_MNIST,
        _KMNIST,
        # These have the MD5 3baf9e2c... and 4483e9c1..., as published with other loaders.
        _caltech(
            16,
            "sha256:c800456b73ba7bfc0e06a5acb65e1c29bf6f5f78818d48c277153da91eaf5949",
            4_082,
            2_257,
            2_302,
        ),
        _caltech(
            28,
            "sha256:eb6735e8d84b1850fabc5590124aab1755e90c9fd28123585324398405e1e42a",
            4_100,
            2_264,
            2_307,
        ),
        _DIGITS,
    )
}


def dataset_names() -> tuple[str, ...]:
    """Return the names that `gncn.data.load_dataset` takes."""
    return tuple(_DATASETS)


def dataset_info(name: str) -> DatasetInfo:
    """Return the facts about a data set.

    Args:
        name: one of `dataset_names`.

    Raises:
        ConfigError: no data set has this name.
    """
    if name not in _DATASETS:
        raise unknown_choice("data set", name, _DATASETS)
    return _DATASETS[name]


def owner_of(digests: Collection[str]) -> str | None:
    """Return the name of the data set that a file belongs to, by its content.

    Args:
        digests: hashes of its content, as in `DataFile.digest`.

    Returns:
        The name, or None where no data set has such a file.
    """
    for info in _DATASETS.values():
        if any(file.digest in digests for file in info.files):
            return info.name
    return None
