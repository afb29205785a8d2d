"""Data sets: the four of the paper, scikit-learn's digits, and your own arrays.

Start with `load_dataset` (by name), `load_file` (a .npy or .npz file) or
`from_arrays` (in memory); each returns a `Dataset` of three `Split`s. What a
data set is, without loading it, is `dataset_info`.
"""

from gncn.data.arrays import Preparation, binarise, from_arrays, load_file
from gncn.data.content import AlteredFileError, MissingFileError
from gncn.data.loaders import DataConfig, DataSource, load_dataset
from gncn.data.locate import cache_dir, check, fetch, present
from gncn.data.registry import DatasetInfo, dataset_info, dataset_names
from gncn.data.stored import StoredImages
from gncn.data.types import Dataset, Split

__all__ = [
    "AlteredFileError",
    "DataConfig",
    "DataSource",
    "Dataset",
    "DatasetInfo",
    "MissingFileError",
    "Preparation",
    "Split",
    "StoredImages",
    "binarise",
    "cache_dir",
    "check",
    "dataset_info",
    "dataset_names",
    "fetch",
    "from_arrays",
    "load_dataset",
    "load_file",
    "present",
]
