"""Data in whatever form a function was given them: `as_dataset` and `as_split`."""

from pathlib import Path
from typing import Any

import numpy as np

from gncn.base.arrays import as_rows, plain
from gncn.base.errors import DataError
from gncn.base.files import place
from gncn.base.labels import as_labels
from gncn.data.arrays import Preparation, from_arrays, load_file
from gncn.data.files import read_members
from gncn.data.types import Dataset, Split


def as_dataset(data: Any, *, binary: bool) -> Dataset:
    """A data set as it is; else one of a path or of any array, for binary outputs or real ones.

    Raises:
        ConfigError, DataError: see `from_arrays` and `load_file`.
    """
    if isinstance(data, Dataset):
        return data
    options: dict[str, Any] = {} if binary else {"binarisation": "none"}
    if isinstance(data, str | Path):
        return load_file(data, **options)
    if isinstance(data, Split):
        raise DataError(
            "data must be a `gncn.Dataset` or images; received a Split, which is a part of one."
        )
    return from_arrays(data, **options)


def as_split(
    data: Any,
    labels: Any = None,
    n_pixels: int | None = None,
    *,
    binary: bool,
    white: float | None = None,
    **options: Any,
) -> tuple[Split, tuple[str, ...] | None]:
    """All images given, or in a path, in their order; and the names of their classes.

    Args:
        data: a `Split`, a path, or any array.
        labels: of each image; a path may have its own.
        n_pixels: pixels that an image must have; None for any number.
        binary: whether they are for a binary output.
        white: what uint8 images that the model learned from were divided by, if that is known.
        options: see `Preparation`.

    Raises:
        ConfigError, DataError: see `from_arrays` and `load_file`; or a file holds several splits.
    """
    if isinstance(data, Split):
        if labels is None:
            return data, None
        numbers, names = as_labels(labels, len(data))
        # Labels that are given replace the split's own.
        return Split(data.images, numbers), names
    if isinstance(data, str | Path):
        members = read_members(place(data))
        if several := sorted(set(members) - {"train_images", "train_labels"}):
            raise DataError(
                f"{data} must hold one array of images; it holds {', '.join(several)}, too. Load "
                "it with `gncn.load_file` and give the data set."
            )
        data, own = members["train_images"], members.get("train_labels")
        labels = own if labels is None else labels
    raw = np.asarray(as_rows(plain(data, "Images"), n_pixels, "Images"))
    # What the caller asks for goes before what the output suggests.
    rule: dict[str, Any] = options if binary else {"binarisation": "none", **options}
    preparation = Preparation(**rule).suited("Images", raw, white=white)
    stochastic = preparation.rule == "stochastic"
    draws = np.random.default_rng(preparation.binarisation_seed or 0) if stochastic else None
    pixels = preparation.see(raw, "Images", draws)
    preparation.tell(raw, "Images")
    if labels is None:
        return Split(pixels), None
    numbers, names = as_labels(labels, len(pixels))
    return Split(pixels, numbers), names
