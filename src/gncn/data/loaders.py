"""`load_dataset`: a data set by its name; `DataConfig`: which data, as a configuration says it."""

import abc
import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gncn.base.errors import ConfigError, quoted
from gncn.base.extras import needs
from gncn.base.files import place
from gncn.base.registry import Registry
from gncn.data.arrays import Binarisation, Preparation, load_file
from gncn.data.content import MissingFileError, parse_idx, parse_silhouettes, read_mnist
from gncn.data.files import is_path
from gncn.data.locate import obtain
from gncn.data.registry import DataFile, DatasetInfo, dataset_info, dataset_names
from gncn.data.types import Dataset, Split, split_off

KMNIST_PART_TEST_IMAGES = 2_000
"""Images kept for testing when only KMNIST's test part is available."""

KMNIST_PART_VALIDATION_IMAGES = 1_000
"""Images for validation in the same case, unless the caller says otherwise."""

PART_SUFFIX = " (test part only)"
"""Ends the name of data of which only a part was available."""

GREY_SUFFIX = " (grey)"
"""Ends the name of a data set whose images are not binarised."""

_KMNIST_PART_HINT = (
    "Where the 60,000 training images can't be obtained, allow_missing_train=True splits the "
    "10,000 test images instead; its numbers aren't comparable with published ones."
)
_GREYS, _DIGITS_GREYS = Preparation(max_value=255), Preparation(max_value=16)

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

    def check(self, entry: Any) -> None:
        super().check(entry)
        try:
            # A source is made without arguments, so one that needs some is refused when it is
            # registered.
            inspect.signature(entry).bind()
        except TypeError as error:
            raise ConfigError(
                f"{entry.__name__}() is made without arguments: {error}. Leave them out."
            ) from None


SOURCES = _Sources("dataset", DataSource)


class DataConfig(Preparation):
    """Which data, and how they are split: the section ``[data]`` of a configuration.

    Attributes:
        name: a data set's name, or the path of a file or folder; see `gncn.load_file`.
        n_validation: number of images for validation; None: the data set's own rule.
        data_dir: folder of the original files; see `gncn.load_dataset`.
        allow_missing_train: KMNIST only; see `gncn.load_dataset`.
        binarisation: of a file ``threshold`` (unless given), ``stochastic`` or ``none``.  Of a data
            set by name ``threshold``, or ``none``, which keeps its greys within [0, 1].
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
        return self.name not in (*dataset_names(), *SOURCES.names()) and is_path(self.name)

    @property
    def preparation(self) -> dict[str, Any]:
        """How images of a file of one's own are made binary: options of `Preparation`."""
        names = {"binarisation", "threshold", "binarisation_seed", "max_value"}
        return self.model_dump(include=names, exclude_none=True)

    def with_whole_paths(self) -> "DataConfig":
        """The same data with absolute paths."""

        def whole(path: str) -> str:
            return str(place(path).absolute())

        name = whole(self.name) if self.is_file else self.name
        folder = None if self.data_dir is None else whole(self.data_dir)
        return self.model_copy(update={"name": name, "data_dir": folder})

    def load(self) -> Dataset:
        """Load the data.

        Raises:
            ConfigError: an option doesn't apply to this kind of data.
            DataError: the data are missing or malformed.
        """
        of_both = {"n_validation", "split_seed"}
        of_names = {"data_dir", "allow_missing_train", "binarisation"}
        both, named = self.model_dump(include=of_both), self.model_dump(include=of_names)
        # Only those that were set: a default must not count as an option for files.
        of_files = self.model_dump(exclude={"name", *of_both, *of_names}, exclude_defaults=True)
        if self.is_file:
            if self.data_dir is not None or self.allow_missing_train:
                raise ConfigError(
                    "data_dir and allow_missing_train apply to data sets by name; "
                    f"{self.name!r} is a file or folder."
                )
            return load_file(self.name, **both, **of_files, binarisation=self.binarisation)
        if of_files:
            raise ConfigError(
                f"{', '.join(of_files)}: only for your own file or folder; {self.name!r} is a "
                "data set by name and has its own rule."
            )
        return load_dataset(self.name, **both, **named)


def load_dataset(
    name: str,
    *,
    data_dir: str | Path | None = None,
    n_validation: int | None = None,
    split_seed: int = 0,
    download: bool = True,
    allow_missing_train: bool = False,
    binarisation: Binarisation | None = None,
) -> Dataset:
    """Load a data set by its name, as binary images unless `binarisation` is ``"none"``.

    Grey pixels are binarised at pixel/255 >= 0.5, as in the paper. CalTech's files hold images
    column by column, with foreground 0 and labels from 1. Here they are upright, with
    foreground 1, and labels count from 0.

    MNIST is embedded in this package and ``"digits"`` in scikit-learn. Other files
    are looked for in `data_dir` if it is given, and nowhere else; otherwise in the
    folder named by the environment variable ``GNCN_DATA``, in the cache, and at
    the mirrors. Each file is checked against its SHA-256.

    Args:
        name: ``"mnist"``, ``"fashion-mnist"``, ``"kmnist"``, ``"caltech-16"``, ``"caltech-28"``,
            ``"digits"`` or a name that you registered (`gncn.data.DataSource`).
        data_dir: folder of the original files, as ``<data_dir>/<data set>/<file>``
            or ``<data_dir>/<file>``.
        n_validation: images split off the training set at random for validation;
            None for the data set's own rule: 2,000 (200 for ``"digits"``), and
            for CalTech its official split, the only one it allows.
        split_seed: decides which images those are.
        download: whether mirrors may be asked for files that are missing.
        allow_missing_train: only for ``"kmnist"``: where the training images can't
            be obtained, split the 10,000 test images into 7,000 for training, 1,000
            for validation and 2,000 for testing. The result is named ``"kmnist (test
            part only)"``; its numbers aren't comparable with published ones.
        binarisation: ``"threshold"`` unless given; ``"none"`` keeps the greys, pixel/255 in
            [0, 1], and adds `` (grey)`` to the name.  The embedded MNIST is binary, so MNIST's
            greys are read from its files.

    Raises:
        ConfigError: unknown name, or an option that this data set can't follow.
        DataError: a file is missing, damaged or altered, or the split is impossible.

    Examples:
        >>> data = load_dataset("digits")
        >>> data.train.images.shape, data.image_shape, data.n_classes
        ((1300, 64), (8, 8), 10)
    """
    if name not in (*dataset_names(), *SOURCES.names()) and is_path(name):
        raise ConfigError(
            f"{name!r} is a file, not the name of a data set. Load it with "
            f"`gncn.data.load_file({name!r})`."
        )
    # Registered names come first, since they can't be names of the library's own.
    info = None if name in SOURCES else dataset_info(name)
    if allow_missing_train and name != "kmnist":
        raise ConfigError(
            f"allow_missing_train is for 'kmnist' only; received it for {name!r}. Leave it out."
        )
    grey = _keeps_greys(name, info, binarisation)
    if info is None:
        kind = SOURCES.get(name)
        data = kind().load(data_dir=data_dir, n_validation=n_validation, split_seed=split_seed)
        if not isinstance(data, Dataset):
            raise ConfigError(
                f"{kind.__name__}.load, of the data set {name!r}, must return a `gncn.Dataset`, "
                f"such as `gncn.from_arrays` makes; it gave {quoted(data)}."
            )
        return data
    if grey and info.origin == "embedded":
        hint = (
            "The copy in gncn is binary: greys are in the original files alone. `gncn data fetch "
            "mnist --data-dir FOLDER` fetches them."
        )
        info = replace(info, hint=hint)
    get = partial(obtain, info, data_dir=data_dir, allow_download=download)
    if info.official_validation:
        return _official_splits(info, get, n_validation, split_seed)
    try:
        whole, test, source = _read_whole(info, get, data_dir, grey)
    # Missing files alone: a damaged one is never replaced by a smaller data set.
    except MissingFileError as error:
        if name != "kmnist":
            raise
        if not allow_missing_train:
            raise MissingFileError(f"{error}\n{_KMNIST_PART_HINT}") from error
        return _kmnist_part(info, get, n_validation, split_seed, grey)
    size = info.n_validation if n_validation is None else n_validation
    train, validation = split_off(whole, (size,), seed=split_seed)
    source = (
        f"{source}; {size} of {len(whole)} training images are for validation "
        f"(split_seed={split_seed})"
    )
    return _dataset(info, (train, validation, test), source, GREY_SUFFIX if grey else "")


def _keeps_greys(name: str, info: DatasetInfo | None, binarisation: Binarisation | None) -> bool:
    """Whether the greys of a data set are kept; refuses rules that it can't follow.

    Raises:
        ConfigError: it has no greys, another rule than these two is asked for, or it is one from
            outside the library, which has its own rule.
    """
    if binarisation is None:
        return False
    if info is None:
        raise ConfigError(
            f"data.binarisation={binarisation!r} is for the library's own data sets and for files; "
            f"the class registered as {name!r} has its own rule. Leave it out."
        )
    if binarisation not in ("threshold", "none"):
        raise ConfigError(
            f"The data set {name!r} is binarised by 'threshold', or by 'none' keeps its greys; "
            f"received {binarisation!r}. Other rules are for files of your own."
        )
    if binarisation == "none" and info.official_validation:
        raise ConfigError(
            f"{name!r} has binary images, silhouettes without greys, so binarisation='none' has "
            "nothing to keep. Leave it out."
        )
    return binarisation == "none"


def _official_splits(
    info: DatasetInfo, get: Get, n_validation: int | None, split_seed: int
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
    splits = parse_silhouettes(get(info.files[0]), info)
    return _dataset(info, splits, f"{info.homepage}; official split 1; upright, foreground 1")


def _kmnist_part(
    info: DatasetInfo, get: Get, n_validation: int | None, split_seed: int, grey: bool
) -> Dataset:
    rule = _rule(_GREYS, grey)
    part = _read_split(info, "test", get, rule)
    size = KMNIST_PART_VALIDATION_IMAGES if n_validation is None else n_validation
    splits = split_off(part, (size, KMNIST_PART_TEST_IMAGES), seed=split_seed)
    source = (
        f"{info.homepage}; {rule}; the training images were missing: the {len(part)} test images "
        f"are split into {len(splits[0])} for training, {size} for validation and "
        f"{len(splits[2])} for testing (split_seed={split_seed}), so numbers aren't comparable "
        "with published ones"
    )
    return _dataset(info, splits, source, (GREY_SUFFIX if grey else "") + PART_SUFFIX)


def _rule(binarised: Preparation, grey: bool) -> Preparation:
    """How images are seen: binarised, or with their greys."""
    return binarised.model_copy(update={"binarisation": "none"}) if grey else binarised


def _read_whole(
    info: DatasetInfo, get: Get, data_dir: str | Path | None, grey: bool
) -> tuple[Split, Split, str]:
    """All training images, the test images, and where they are from."""
    if info.origin == "scikit-learn":
        return _read_digits(info, data_dir, _rule(_DIGITS_GREYS, grey))
    # The embedded copy has one bit a pixel.
    if info.origin != "embedded" or data_dir is not None or grey:
        rule = _rule(_GREYS, grey)
        whole, test = (_read_split(info, part, get, rule) for part in ("train", "test"))
        return whole, test, f"{info.homepage}; {rule}"
    arrays = read_mnist()
    whole, test = (
        Split(arrays[f"{part}_images"], arrays[f"{part}_labels"].astype(np.int32))
        for part in ("train", "test")
    )
    return whole, test, f"the copy embedded in gncn; {_GREYS}"


def _read_split(info: DatasetInfo, part: str, get: Get, rule: Preparation) -> Split:
    """A split of a data set of idx files."""
    found = [file for file in info.files if file.part.startswith(part)]
    images, labels = (parse_idx(get(file), file.shape or ()) for file in found)
    return Split(rule.see(images, info.name), labels.astype(np.int32))


def _read_digits(
    info: DatasetInfo, data_dir: str | Path | None, rule: Preparation
) -> tuple[Split, Split, str]:
    """Scikit-learn's digits; the last 297 images, in its order, are the test split."""
    if data_dir is not None:
        raise ConfigError(
            f"'digits' comes with scikit-learn and is read from no folder; received data_dir="
            f"{str(data_dir)!r}. Leave it out."
        )
    needs("sklearn", "evaluation")
    from sklearn.datasets import load_digits

    grey, labels = map(np.asarray, load_digits(return_X_y=True))
    everything = Split(rule.see(grey, info.name), labels.astype(np.int32))
    # In scikit-learn's order, without a seed: the same split for everybody.
    train, test = np.split(np.arange(len(everything)), [info.n_train])
    source = f"scikit-learn's load_digits; {rule}; the last {len(test)} images are the test split"
    return everything.subset(train), everything.subset(test), source


def _dataset(
    info: DatasetInfo, splits: tuple[Split, ...], source: str, suffix: str = ""
) -> Dataset:
    return Dataset(
        info.name + suffix,
        *splits,
        image_shape=info.image_shape,
        n_classes=info.n_classes,
        source=source,
        licence=f"{info.licence} ({info.creators})",
    )
