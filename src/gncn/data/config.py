"""`DataConfig`: the section ``[data]`` of a configuration: which data, and which splits of them."""

from pathlib import Path

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.data.arrays import Binarisation, load_file
from gncn.data.loaders import load_dataset
from gncn.data.types import Dataset

OF_FILES = ("binarisation", "threshold", "binarisation_seed", "max_value", "image_shape", "n_test")
"""Options of `gncn.load_file` that data sets by name don't take."""


class DataConfig(Description):
    """Which data, and how they are split.

    Attributes:
        name: a data set's name, or the path of a .npy or .npz file.
        data_dir: folder of the original files; see `gncn.load_dataset`.
        n_validation: number of images for validation; None: the data set's own rule.
        split_seed: decides which images those are.
        allow_missing_train: KMNIST only; see `gncn.load_dataset`.
        binarisation: ``threshold``, ``stochastic`` or ``none``; files only.
        threshold: files only; see `gncn.load_file`.
        binarisation_seed: files only; see `gncn.load_file`.
        max_value: value of a white pixel; files only.
        image_shape: rows and columns of an image; files only.
        n_test: number of images for testing; files only.
        stream: leave the images in a .npy file and read them while training.  For data that
            are larger than memory.
    """

    name: str = "mnist"
    data_dir: str | None = None
    n_validation: int | None = None
    split_seed: int = 0
    allow_missing_train: bool = False
    binarisation: Binarisation | None = None
    threshold: float | None = None
    binarisation_seed: int | None = None
    max_value: float | None = None
    image_shape: tuple[int, int] | None = None
    n_test: int | None = None
    stream: bool = False

    @property
    def is_file(self) -> bool:
        """Whether the data are a file of the user's own."""
        return self.name.endswith((".npy", ".npz"))

    def with_whole_paths(self) -> "DataConfig":
        """The same data with absolute paths."""
        whole = {}
        if self.is_file:
            whole["name"] = str(Path(self.name).expanduser().absolute())
        if self.data_dir is not None:
            whole["data_dir"] = str(Path(self.data_dir).expanduser().absolute())
        return self.model_copy(update=whole)

    def load(self) -> Dataset:
        """Load the data.

        Raises:
            ConfigError: an option doesn't apply to this kind of data.
            DataError: the data are missing or malformed.
        """
        given = {name: getattr(self, name) for name in OF_FILES}
        of_files = {name: value for name, value in given.items() if value is not None}
        both = {"n_validation": self.n_validation, "split_seed": self.split_seed}
        if self.is_file:
            if self.data_dir is not None or self.allow_missing_train:
                raise ConfigError(
                    "data_dir and allow_missing_train apply to data sets by name; "
                    f"{self.name!r} is a file."
                )
            return load_file(self.name, stream=self.stream, **both, **of_files)
        if of_files or self.stream:
            idle = [*of_files, *(["stream"] if self.stream else [])]
            raise ConfigError(
                f"{', '.join(idle)}: only for your own .npy or .npz file; {self.name!r} is a "
                "data set by name and has its own rule."
            )
        return load_dataset(
            self.name,
            data_dir=self.data_dir,
            allow_missing_train=self.allow_missing_train,
            **both,
        )
