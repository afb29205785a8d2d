"""The data sets known by name; ``assets/datasets.toml`` lists them with their files and hashes.

Hashes are of the *content* of a file: the decompressed bytes of an idx file (mirrors compress
differently; an ``.npz`` is turned into idx bytes first), and the whole file for a ``.mat``.
"""

import os
import tomllib
from collections.abc import Collection
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Literal

from pydantic import TypeAdapter

from gncn.base.errors import ConfigError, quoted, unknown_choice
from gncn.data.files import SUFFIXES

Part = Literal["train_images", "train_labels", "test_images", "test_labels", "all"]
"""The part of a data set that a file holds."""


@dataclass(frozen=True)
class DataFile:
    """A file of a data set, in whichever form it is distributed.

    Attributes:
        digest: ``"sha256:..."`` or ``"md5:..."`` of its content (see the module).
        urls: official addresses and mirrors, tried in this order. The last part
            of each is a name that the file goes by.
        shape: shape of the uint8 array in an idx file; None for a .mat file.
    """

    part: Part
    digest: str
    urls: tuple[str, ...]
    shape: tuple[int, ...] | None = None

    @property
    def file_names(self) -> tuple[str, ...]:
        """Names under which the file is looked for: gzipped, plain idx, npz, mat."""
        names = [PurePosixPath(url).name for url in self.urls]
        plain = [name.removesuffix(".gz") for name in names]
        # Each name once, in the order of the mirrors.
        return tuple(dict.fromkeys((*names, *plain)))


@dataclass(frozen=True)
class DatasetInfo:
    """Facts about a data set, without its data.

    Attributes:
        n_train: number of training images, before any validation split.
        n_validation: size of the validation split by the data set's own rule.
        image_shape: (rows, cols).
        creators: whom to credit.
        homepage: where its authors describe it.
        folders: names of the folders its files are looked for in.
        files: its files; empty for data that come with an installed package.
        origin: ``"embedded"`` in this package, ``"scikit-learn"`` for data that
            come with it, or ``"files"``.
        official_validation: whether the data set comes with its own validation
            split (`n_train` excludes it); otherwise it is taken from training.
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


_DATASETS = {
    name: TypeAdapter(DatasetInfo).validate_python({"name": name, **facts})
    for name, facts in tomllib.loads(
        files("gncn.data").joinpath("assets", "datasets.toml").read_text(encoding="utf-8")
    ).items()
}


def dataset_names() -> tuple[str, ...]:
    """The names of the library's own data sets, which `gncn.data.load_dataset` takes."""
    return tuple(_DATASETS)


def dataset_info(name: str) -> DatasetInfo:
    """The facts about a data set; a `ConfigError` lists all names where this is none."""
    if name not in _DATASETS:
        if os.path.isfile(name):  # noqa: PTH113 (a name that is too long is none)
            raise ConfigError(
                f"{quoted(name)} is a file of a kind that isn't read. Data may be "
                f"{', '.join(SUFFIXES)} files or a folder of pictures."
            )
        unknown = unknown_choice("data set", name, _DATASETS)
        raise ConfigError(f"{unknown} Or give a path: there is no folder of that name.")
    return _DATASETS[name]


def owner_of(digests: Collection[str]) -> str | None:
    """The data set with a file of one of these hashes (as in `DataFile.digest`); None if none."""
    for info in _DATASETS.values():
        if any(file.digest in digests for file in info.files):
            return info.name
    return None
