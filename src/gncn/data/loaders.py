"""`load_dataset`: a data set by its name; `DataConfig`: which data, as a configuration says it."""

import abc
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from gncn.base.errors import ConfigError
from gncn.base.extras import needs
from gncn.base.registry import Registry
from gncn.data.arrays import DEFAULT_THRESHOLD, Preparation, load_file
from gncn.data.content import MissingFileError, parse_idx, parse_silhouettes, read_mnist
from gncn.data.locate import obtain
from gncn.data.registry import DataFile, DatasetInfo, dataset_info, dataset_names
from gncn.data.types import Dataset, Split, split_off

KMNIST_PART_TEST_IMAGES = 2_000
"""Images kept for testing when only KMNIST's test part is at hand."""

KMNIST_PART_VALIDATION_IMAGES = 1_000
"""Images for validation in the same case, unless the caller says otherwise."""

PART_SUFFIX = " (test part only)"
"""Ends the name of data of which only a part was at hand."""

_KMNIST_PART_HINT = (
    "Where the 60,000 training images can't be had, allow_missing_train=True splits the 10,000 "
    "test images instead; its numbers aren't comparable with published ones."
)
_RULE = f"binarised at pixel/255 >= {DEFAULT_THRESHOLD}"
_FILES = (".npy", ".npz")

Get = Callable[[DataFile], bytes]
"""Gives the verified content of a file."""


class DataSource(abc.ABC):
    """Base class of data sets that are registered from outside the library.

    Register the class: ``gncn.register("dataset", "mine", MySource)``.  Then `load_dataset` and
    ``data.name`` find it by its name.
    """

    @abc.abstractmethod
    def load(
        self, *, data_dir: str | Path | None, n_validation: int | None, split_seed: int
    ) -> Dataset:
        """Load the data and split them; `gncn.from_arrays` may help.

        Args:
            data_dir: folder of the original files; None: wherever the class finds them.
            n_validation: number of images for validation; None: the class's own rule.
            split_seed: decides which images those are.

        Raises:
            ConfigError: an option has a value that the data set can't follow.
            DataError: the data are missing or malformed.
        """


class _Sources(Registry[type[DataSource]]):
    """Data sets from outside; the library's own names are taken."""

    def register(self, name: str, entry: Any) -> Any:
        if name in dataset_names():
            raise ConfigError(f"The dataset name {name!r} is taken; choose another name.")
        return super().register(name, entry)


SOURCES = _Sources("dataset", DataSource)


class DataConfig(Preparation):
    """Which data, and how they are split: the section ``[data]`` of a configuration.

    Attributes:
        name: a data set's name, or the path of a .npy or .npz file.
        n_validation: number of images for validation; None: the data set's own rule.
        data_dir: folder of the original files; see `gncn.load_dataset`.
        allow_missing_train: KMNIST only; see `gncn.load_dataset`.
        stream: leave the images in a .npy file and read them while training.  For data that
            are larger than memory.

    The other options are for files only.
    """

    name: str = "mnist"  # pyright: ignore[reportIncompatibleVariableOverride]
    data_dir: str | None = None
    allow_missing_train: bool = False
    stream: bool = False

    @property
    def is_file(self) -> bool:
        """Whether the data are a file of the user's own."""
        return self.name.endswith(_FILES)

    def with_whole_paths(self) -> "DataConfig":
        """The same data with absolute paths."""
        paths = {"name": self.name if self.is_file else None, "data_dir": self.data_dir}
        whole = {
            option: str(Path(path).expanduser().absolute())
            for option, path in paths.items()
            if path is not None
        }
        return self.model_copy(update=whole)

    def load(self) -> Dataset:
        """Load the data.

        Raises:
            ConfigError: an option doesn't apply to this kind of data.
            DataError: the data are missing or malformed.
        """
        split = {"n_validation": self.n_validation, "split_seed": self.split_seed}
        of_files = {
            option: getattr(self, option)
            for option in (*Preparation.model_fields, "stream")
            if option not in ("name", *split)
        }
        if self.is_file:
            if self.data_dir is not None or self.allow_missing_train:
                raise ConfigError(
                    "data_dir and allow_missing_train apply to data sets by name; "
                    f"{self.name!r} is a file."
                )
            return load_file(self.name, **split, **of_files)
        idle = [option for option, value in of_files.items() if value not in (None, False)]
        if idle:
            raise ConfigError(
                f"{', '.join(idle)}: only for your own .npy or .npz file; {self.name!r} is a "
                "data set by name and has its own rule."
            )
        return load_dataset(
            self.name,
            data_dir=self.data_dir,
            allow_missing_train=self.allow_missing_train,
            **split,
        )


def load_dataset(
    name: str,
    *,
    data_dir: str | Path | None = None,
    n_validation: int | None = None,
    split_seed: int = 0,
    download: bool = True,
    allow_missing_train: bool = False,
) -> Dataset:
    """Load a data set by its name, as binary images.

    Grey pixels are binarised at pixel/255 >= 0.5, as in the paper. CalTech's
    silhouettes are turned upright, with foreground 1, and its labels count from 0
    (the files hold them column by column, with foreground 0 and labels from 1).

    MNIST is embedded in this package and ``"digits"`` in scikit-learn. Other files
    are looked for in `data_dir` if it is given, and nowhere else; otherwise in the
    folder named by the environment variable ``GNCN_DATA``, in the cache, and at
    the mirrors. Each file is checked against its SHA-256.

    Args:
        name: one of `gncn.data.dataset_names`: ``"mnist"``, ``"fashion-mnist"``,
            ``"kmnist"``, ``"caltech-16"``, ``"caltech-28"`` or ``"digits"``; or a name that
            you registered (`gncn.data.DataSource`).
        data_dir: folder of the original files, as ``<data_dir>/<data set>/<file>``
            or ``<data_dir>/<file>``.
        n_validation: images split off the training set at random for validation;
            None for the data set's own rule: 2,000 (200 for ``"digits"``), and
            for CalTech its official split, the only one it allows.
        split_seed: decides which images those are.
        download: whether mirrors may be asked for files that are not at hand.
        allow_missing_train: only for ``"kmnist"``: where the training images can't
            be had, split the 10,000 test images into 7,000 for training, 1,000
            for validation and 2,000 for testing (by `split_seed`). The result is
            named ``"kmnist (test part only)"``; its numbers aren't comparable
            with published ones.

    Returns:
        The data set: uint8 zeros and ones, labels int32 from 0.

    Raises:
        ConfigError: unknown name, or an option that this data set can't follow.
        DataError: a file is missing, damaged or altered, or the split is impossible.

    Examples:
        >>> data = load_dataset("digits")
        >>> data.train.images.shape, data.image_shape, data.n_classes
        ((1300, 64), (8, 8), 10)
    """
    if name.endswith(_FILES):
        raise ConfigError(
            f"{name!r} is a file, not the name of a data set. Load it with "
            f"`gncn.data.load_file({name!r})`."
        )
    info = None if name in SOURCES else dataset_info(name)
    if allow_missing_train and name != "kmnist":
        raise ConfigError(
            f"allow_missing_train is for 'kmnist' only; received it for {name!r}. Leave it out."
        )
    if info is None:
        source = SOURCES.get(name)()
        return source.load(data_dir=data_dir, n_validation=n_validation, split_seed=split_seed)
    get = partial(obtain, info, data_dir=data_dir, allow_download=download)
    if info.official_validation:
        _refuse_other_splits(info, n_validation, split_seed)
        splits = parse_silhouettes(get(info.files[0]), info)
        return _dataset(info, splits, "official split 1; upright, foreground 1")
    try:
        whole, test, source = _read_whole(info, get, data_dir)
    except MissingFileError as error:
        if name != "kmnist":
            raise
        if not allow_missing_train:
            raise MissingFileError(f"{error}\n{_KMNIST_PART_HINT}") from error
        return _kmnist_part(info, get, n_validation, split_seed)
    size = info.n_validation if n_validation is None else n_validation
    train, validation = split_off(whole, (size,), seed=split_seed)
    prepared = f"{size} of {len(whole)} training images are for validation"
    splits = (train, validation, test)
    return _dataset(info, splits, f"{prepared} (split_seed={split_seed})", source=source)


def _refuse_other_splits(info: DatasetInfo, n_validation: int | None, split_seed: int) -> None:
    if n_validation is not None:
        raise ConfigError(
            f"{info.name!r} comes with its own validation split of {info.n_validation} images; "
            f"received n_validation={n_validation}. Leave it out."
        )
    if split_seed != 0:
        raise ConfigError(
            f"{info.name!r} comes with its own splits, which no seed changes; received "
            f"split_seed={split_seed}. Leave it out."
        )


def _read_whole(
    info: DatasetInfo, get: Get, data_dir: str | Path | None
) -> tuple[Split, Split, str]:
    """All training images, the test images, and where they are from."""
    if info.origin == "scikit-learn":
        return _read_digits(info, data_dir)
    if info.origin == "embedded" and data_dir is None:
        arrays, source = read_mnist(), "the copy embedded in gncn"
    else:
        arrays, source = _read_files(info.files, get), info.homepage
    return _split(arrays, "train"), _split(arrays, "test"), f"{source}; {_RULE}"


def _read_digits(info: DatasetInfo, data_dir: str | Path | None) -> tuple[Split, Split, str]:
    """Read scikit-learn's digits; the last 297 images, in its order, are the test split."""
    if data_dir is not None:
        raise ConfigError(
            f"'digits' comes with scikit-learn and is read from no folder; received data_dir="
            f"{str(data_dir)!r}. Leave it out."
        )
    needs("sklearn", "evaluation")
    from sklearn.datasets import load_digits

    grey, labels = load_digits(return_X_y=True)
    images = (np.asarray(grey) / 16 >= DEFAULT_THRESHOLD).astype(np.uint8)
    everything = Split(images, np.asarray(labels).astype(np.int32))
    train, test = np.split(np.arange(len(everything)), [info.n_train])
    source = (
        f"scikit-learn's load_digits; binarised at pixel/16 >= {DEFAULT_THRESHOLD}; the last "
        f"{len(test)} images are the test split"
    )
    return everything.subset(train), everything.subset(test), source


def _kmnist_part(info: DatasetInfo, get: Get, n_validation: int | None, split_seed: int) -> Dataset:
    files = [file for file in info.files if file.part in ("test_images", "test_labels")]
    part = _split(_read_files(files, get), "test")
    size = KMNIST_PART_VALIDATION_IMAGES if n_validation is None else n_validation
    train, validation, test = split_off(part, (size, KMNIST_PART_TEST_IMAGES), seed=split_seed)
    prepared = (
        f"{_RULE}; the training images were missing: the {len(part)} test images "
        f"are split into {len(train)} for training, {size} for validation and {len(test)} for "
        f"testing (split_seed={split_seed}), so numbers aren't comparable with published ones"
    )
    return _dataset(info, (train, validation, test), prepared, suffix=PART_SUFFIX)


def _read_files(files: Iterable[DataFile], get: Get) -> dict[str, UInt8[np.ndarray, "..."]]:
    """Read labels, and images as rows of zeros and ones."""
    arrays = {}
    for file in files:
        assert file.shape is not None, f"{file.urls[0]} is no idx file"
        array = parse_idx(get(file), file.shape)
        if array.ndim == 3:
            array = (array >= DEFAULT_THRESHOLD * 255).astype(np.uint8).reshape(len(array), -1)
        arrays[file.part] = array
    return arrays


def _split(arrays: dict[str, UInt8[np.ndarray, "..."]], part: str) -> Split:
    return Split(arrays[f"{part}_images"], arrays[f"{part}_labels"].astype(np.int32))


def _dataset(
    info: DatasetInfo,
    splits: tuple[Split, Split, Split],
    prepared: str,
    *,
    source: str | None = None,
    suffix: str = "",
) -> Dataset:
    train, validation, test = splits
    return Dataset(
        name=info.name + suffix,
        train=train,
        validation=validation,
        test=test,
        image_shape=info.image_shape,
        n_classes=info.n_classes,
        source=f"{source or info.homepage}; {prepared}",
        licence=f"{info.licence} ({info.creators})",
    )
