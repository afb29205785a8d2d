"""`DataSource`: a data set of your own that `load_dataset` and ``data.name`` find by its name."""

import abc
from pathlib import Path
from typing import Any

from gncn.base.errors import ConfigError
from gncn.base.registry import Registry
from gncn.data.registry import dataset_names
from gncn.data.types import Dataset


class DataSource(abc.ABC):
    """Base class of data sets that are registered from outside the library.

    Register the class: ``gncn.register("dataset", "mine", MySource)``.
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
        """Give a data set a name; see `Registry.register`."""
        if name in dataset_names():
            raise ConfigError(f"The dataset name {name!r} is taken; choose another name.")
        return super().register(name, entry)


SOURCES = _Sources("dataset", DataSource, scope="dataset")
