"""`load_dataset`: a data set by its name, binarised, upright and split."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from gncn.base.errors import ConfigError
from gncn.base.extras import needs
from gncn.data.arrays import DEFAULT_THRESHOLD
from gncn.data.content import MissingFileError, parse_idx, parse_silhouettes
from gncn.data.embedded import read_mnist
from gncn.data.locate import obtain
from gncn.data.registry import DataFile, DatasetInfo, dataset_info
from gncn.data.source import SOURCES
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
    if name.endswith((".npy", ".npz")):
        raise ConfigError(
            f"{name!r} is a file, not the name of a data set. Load it with "
            f"`gncn.data.load_file({name!r})`."
        )
    if name in SOURCES:
        if allow_missing_train:
            raise _only_kmnist(name)
        source = SOURCES.get(name)()
        return source.load(data_dir=data_dir, n_validation=n_validation, split_seed=split_seed)
    info = dataset_info(name)
    if allow_missing_train and name != "kmnist":
        raise _only_kmnist(name)
    if info.official_validation:
        return _load_official_splits(info, data_dir, n_validation, split_seed, download)
    try:
        whole, test, source = _read_whole(info, data_dir, download)
    except MissingFileError as error:
        if allow_missing_train:
            return _load_kmnist_part(info, data_dir, n_validation, split_seed, download)
        if name == "kmnist":
            raise MissingFileError(f"{error}\n{_KMNIST_PART_HINT}") from error
        raise
    size = info.n_validation if n_validation is None else n_validation
    train, validation = split_off(whole, (size,), seed=split_seed)
    return _dataset(
        info,
        (train, validation, test),
        f"{source}; {size} of {len(whole)} training images are for validation "
        f"(split_seed={split_seed})",
    )


def _read_whole(
    info: DatasetInfo, data_dir: str | Path | None, download: bool
) -> tuple[Split, Split, str]:
    """All training images, the test images, and where they are from."""
    if info.origin == "scikit-learn":
        return _read_digits(info, data_dir)
    if info.origin == "embedded" and data_dir is None:
        arrays, source = read_mnist(), "the copy embedded in gncn"
    else:
        arrays, source = _read_files(info, info.files, data_dir, download), info.homepage
    return _split(arrays, "train"), _split(arrays, "test"), f"{source}; {_RULE}"


def _only_kmnist(name: str) -> ConfigError:
    return ConfigError(
        f"allow_missing_train is for 'kmnist' only; received it for {name!r}. Leave it out."
    )


def _load_official_splits(
    info: DatasetInfo,
    data_dir: str | Path | None,
    n_validation: int | None,
    split_seed: int,
    download: bool,
) -> Dataset:
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
    (file,) = info.files
    content = obtain(info, file, data_dir=data_dir, allow_download=download)
    return _dataset(
        info,
        parse_silhouettes(content, info),
        f"{info.homepage}; official split 1; upright, foreground 1",
    )


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
    test = everything.subset(np.arange(info.n_train, len(everything)))
    source = (
        f"scikit-learn's load_digits; binarised at pixel/16 >= {DEFAULT_THRESHOLD}; the last "
        f"{len(test)} images are the test split"
    )
    return everything.subset(np.arange(info.n_train)), test, source


def _load_kmnist_part(
    info: DatasetInfo,
    data_dir: str | Path | None,
    n_validation: int | None,
    split_seed: int,
    download: bool,
) -> Dataset:
    files = [file for file in info.files if file.part in ("test_images", "test_labels")]
    part = _split(_read_files(info, files, data_dir, download), "test")
    size = KMNIST_PART_VALIDATION_IMAGES if n_validation is None else n_validation
    train, validation, test = split_off(part, (size, KMNIST_PART_TEST_IMAGES), seed=split_seed)
    return _dataset(
        info,
        (train, validation, test),
        f"{info.homepage}; {_RULE}; the training images were missing: the {len(part)} test images "
        f"are split into {len(train)} for training, {size} for validation and {len(test)} for "
        f"testing (split_seed={split_seed}), so numbers aren't comparable with published ones",
        suffix=PART_SUFFIX,
    )


def _read_files(
    info: DatasetInfo, files: Iterable[DataFile], data_dir: str | Path | None, download: bool
) -> dict[str, UInt8[np.ndarray, "..."]]:
    """Read labels, and images as rows of zeros and ones."""
    arrays = {}
    for file in files:
        content = obtain(info, file, data_dir=data_dir, allow_download=download)
        assert file.shape is not None, f"{info.name} is not made of idx files"
        array = parse_idx(content, file.shape)
        if array.ndim == 3:
            array = (array >= DEFAULT_THRESHOLD * 255).astype(np.uint8).reshape(len(array), -1)
        arrays[file.part] = array
    return arrays


def _split(arrays: dict[str, UInt8[np.ndarray, "..."]], part: str) -> Split:
    return Split(arrays[f"{part}_images"], arrays[f"{part}_labels"].astype(np.int32))


def _dataset(
    info: DatasetInfo, splits: tuple[Split, Split, Split], source: str, suffix: str = ""
) -> Dataset:
    train, validation, test = splits
    return Dataset(
        name=info.name + suffix,
        train=train,
        validation=validation,
        test=test,
        image_shape=info.image_shape,
        n_classes=info.n_classes,
        source=source,
        licence=f"{info.licence} ({info.creators})",
    )
