"""The classes of data sets: `Split` (images with labels) and `Dataset` (three splits).

Both are frozen and check themselves when built, and their arrays can't be
written to: a run that holds a `Dataset` knows that nobody changes it.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float32, Int, Int32, UInt8

from gncn.base.arrays import NO_CLASS, check_values
from gncn.base.errors import DataError, check_shape, check_whole, quoted, shortened
from gncn.base.shown import shown
from gncn.data.stored import StoredImages

Images = UInt8[np.ndarray, "n pixels"] | Float32[np.ndarray, "n pixels"]
"""Binary images (uint8, each pixel 0 or 1) or real-valued ones (float32, any finite values)."""


@dataclass(frozen=True, eq=False, repr=False)
class Split:
    """Images, one a row, and their labels.

    Attributes:
        images: uint8 of zeros and ones (binary data) or float32 of any finite values
            (real-valued data), shape (n, pixels), n at least 1. Not writeable. Or
            such images in a file (see `gncn.load_file`), read when they are indexed.
        labels: class of each image, int32 from 0, or -1 for an image without one, shape (n,);
            None for data without labels. Not writeable.

    Raises:
        DataError: an array has the wrong type, shape or range.
    """

    images: Images | StoredImages
    labels: Int32[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.images, np.ndarray):
            _check_images(self.images)
            # A frozen class refuses assignment, even to itself.
            object.__setattr__(self, "images", _frozen(self.images))
        if self.labels is not None:
            _check_labels(self.labels, len(self.images))
            object.__setattr__(self, "labels", _frozen(self.labels))

    def __len__(self) -> int:
        return len(self.images)

    def subset(self, rows: Int[np.ndarray, " m"]) -> "Split":
        """The split that holds the given rows, in the order given."""
        images = self.images
        chosen = images.subset(rows) if isinstance(images, StoredImages) else images[rows]
        return Split(chosen, None if self.labels is None else self.labels[rows])

    def joined(self, other: "Split") -> "Split":
        """The images of this split, then another's, with their labels."""
        images: Any = (self.images, other.images)
        if isinstance(self.images, StoredImages) and isinstance(other.images, StoredImages):
            together = self.images.joined(other.images)
        else:
            together = np.concatenate([one[:] for one in images])
        if self.labels is None or other.labels is None:
            return Split(together)
        return Split(together, np.concatenate([self.labels, other.labels]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All images in memory, for whatever takes arrays."""
        return np.array(self.images, dtype, copy=copy)

    def __str__(self) -> str:
        kind = "binary" if self.images.dtype == np.uint8 else "real-valued"
        labels = np.zeros(0, int) if self.labels is None else self.labels
        classes, counts = np.unique(labels[labels != NO_CLASS], return_counts=True)
        said = [f"{len(self):,} images of {self.images.shape[1]:,} {kind} pixels"]
        if len(classes):
            said.append(f"{len(classes)} classes of {counts.min():,} to {counts.max():,} images")
        if n := int((labels == NO_CLASS).sum()):
            said.append(f"{n:,} without a class")
        return ", ".join([*said, *["no labels"] * (self.labels is None)])

    def __repr__(self) -> str:
        return f"<Split: {self}>"

    @property
    def array(self) -> Images:
        """All images in memory; those in a file are read each time."""
        return self.images[:]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A training, a validation and a test split of the same kind of image.

    Attributes:
        name: what to call it in tables and run folders.
        train: the split to learn from.
        validation: the split for choosing settings.
        test: the split to report numbers on.
        image_shape: (rows, cols) of an image, or None for data that are no images.
            Rows of `Split.images` are images in row-major order.
        n_classes: number of classes; None for data without labels.
        source: where the data come from and how they were prepared, for people.
        licence: terms of use, for people.
        class_names: names of the classes, by number; None where they have none.
        white: the value of a pixel that was fully on in the arrays that it was made of, by which
            later images of type uint8 are divided, too; None if it isn't known.

    Raises:
        DataError: the splits disagree with each other or with the fields.
    """

    name: str
    train: Split
    validation: Split
    test: Split
    image_shape: tuple[int, int] | None
    n_classes: int | None
    source: str
    licence: str
    class_names: tuple[str, ...] | None = None
    white: float | None = None

    def __post_init__(self) -> None:
        kinds = {(split.images.dtype.name, split.images.shape[1]) for split in self.splits}
        if len(kinds) != 1:
            raise DataError(
                f"The splits of {self.name!r} must share one type and number of pixels; received "
                f"{sorted(kinds)}. Prepare all splits in the same way."
            )
        if self.image_shape is not None:
            rows, cols = check_shape(self.image_shape)
            if rows * cols != self.n_pixels:
                raise DataError(
                    f"image_shape {self.image_shape} makes {rows * cols} pixels, but the images of "
                    f"{self.name!r} have {self.n_pixels}. Correct it, or pass None."
                )
        self._check_classes()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        raise DataError(
            f"The data set {self.name!r} has three splits of images; give one of them: its train, "
            "validation or test."
        )

    def __str__(self) -> str:
        shape = "" if self.image_shape is None else "{}×{} pixels; ".format(*self.image_shape)
        names = ("train", "validation", "test")
        of_splits = (f"{name}: {split}" for name, split in zip(names, self.splits, strict=True))
        lines = (self.name, *of_splits, f"{shape}{self.source}", f"licence: {self.licence}")
        return "\n  ".join(shown(shortened(line, 400), keep="") for line in lines)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{len(split):,}" for split in self.splits)
        return f"<Dataset {quoted(self.name)}: {sizes} images to learn from, validate and test>"

    def _check_classes(self) -> None:
        labels = [split.labels for split in self.splits if split.labels is not None]
        if len(labels) not in (0, 3):
            raise DataError(
                f"Either all splits of {self.name!r} have labels or none has; received labels for "
                f"{len(labels)} of 3."
            )
        if bool(labels) != (self.n_classes is not None):
            raise DataError(
                f"n_classes must be a number for data with labels and None without; received "
                f"{self.n_classes} for {self.name!r}, which has {'' if labels else 'no '}labels."
            )
        largest = max((int(part.max()) for part in labels), default=-1)
        if self.n_classes is not None:
            check_whole("n_classes", self.n_classes, least=1)
        if self.n_classes is not None and largest >= self.n_classes:
            raise DataError(
                f"Labels of {self.name!r} must lie within 0..{self.n_classes - 1} "
                f"(n_classes={self.n_classes}); the largest is {largest}."
            )

    @property
    def splits(self) -> tuple[Split, Split, Split]:
        """Training, validation and test split."""
        return self.train, self.validation, self.test

    def learned_from(self, train_on: str) -> Split:
        """The images that models learn from: of ``train``, or ``both``: validation's, too."""
        return self.train.joined(self.validation) if train_on == "both" else self.train

    @property
    def n_pixels(self) -> int:
        """Number of pixels (input units) in an image."""
        return self.train.images.shape[1]

    @property
    def binary(self) -> bool:
        """Whether pixels are 0 or 1 (uint8), rather than real-valued (float32)."""
        return self.train.images.dtype == np.uint8

    @cached_property
    def limits(self) -> tuple[float, float]:
        """The least and the largest value of a pixel; of streamed images all are read."""
        if self.binary:
            return 0.0, 1.0
        of_blocks = []
        for images in (split.images for split in self.splits):
            parts = images.blocks() if isinstance(images, StoredImages) else (images,)
            of_blocks += [(float(part.min()), float(part.max())) for part in parts]
        lows, highs = zip(*of_blocks, strict=True)
        return min(lows), max(highs)

    @cached_property
    def fingerprint(self) -> str:
        """First 16 hexadecimal digits of a SHA-256 over all arrays.

        It depends on the types, shapes and values of the arrays, and on nothing
        else: two runs with the same fingerprint saw the same data, split alike.
        """
        digest = hashlib.sha256()
        for array in (array for split in self.splits for array in (split.images, split.labels)):
            if array is None:
                digest.update(b"none;")
                continue
            # Little-endian on every machine, so a fingerprint is the same everywhere.
            little = array.dtype.newbyteorder("<")
            # Types and shapes count too: equal bytes may be other arrays.
            digest.update(f"{little.str}{array.shape};".encode())
            # Streamed images are hashed as they are seen, in blocks of bounded size.
            for part in array.blocks() if isinstance(array, StoredImages) else (array,):
                digest.update(np.ascontiguousarray(part.astype(little, copy=False)).data)
        return digest.hexdigest()[:16]


def training_only(train: Split, name: str = "custom") -> Dataset:
    """A data set for what learns without held-out images: its first image stands for these."""
    first = train.subset(np.zeros(1, int))
    n_classes = None if train.labels is None else 1 + int(train.labels.max())
    return Dataset(name, train, first, first, None, n_classes, "arrays in memory", "yours")


def split_off(split: Split, sizes: Iterable[int], *, seed: int) -> tuple[Split, ...]:
    """Draw disjoint random subsets of the given sizes, each at least 1, from a split.

    Returns:
        The remaining rows, then one split for each size. Within each, rows keep
        their original order.

    Raises:
        DataError: a size or the seed is out of range, or no rows would remain.
    """
    sizes = tuple(check_whole("n_validation and n_test", size) for size in sizes)
    if check_whole("split_seed", seed) < 0:
        raise DataError(f"split_seed must be an integer of at least 0; received {seed}.")
    if any(size < 1 for size in sizes) or sum(sizes) >= len(split):
        received = " + ".join(str(size) for size in sizes)
        raise DataError(
            f"Can't split {received} off {len(split)} image(s): each part needs at least 1 image, "
            "and at least 1 must remain for training. Ask for fewer (n_validation, n_test)."
        )
    order = np.random.default_rng(int(seed)).permutation(len(split))
    # Sorted again, so that each part keeps the order of the whole.
    *parts, rest = (np.sort(part) for part in np.split(order, np.cumsum(sizes)))
    return tuple(split.subset(rows) for rows in (rest, *parts))


def _frozen(array: np.ndarray) -> np.ndarray:
    # A view: the caller's own array stays writeable.
    view = array.view()
    view.flags.writeable = False
    return view


def _check_images(images: np.ndarray) -> None:
    if images.ndim != 2 or 0 in images.shape:
        raise DataError(
            "Images must be an array of shape (n, pixels) with at least one row and one pixel; "
            f"received shape {images.shape}."
        )
    if images.dtype not in (np.uint8, np.float32):
        raise DataError(
            f"Images must be uint8 (binary) or float32 (real-valued); received {images.dtype}. "
            "Use `gncn.data.from_arrays`, which converts."
        )
    if images.dtype == np.float32:
        check_values(images, "Images")
    elif (high := images.max()) > 1:
        raise DataError(
            f"Binary (uint8) images must hold 0 and 1 only; the largest value is {high}. "
            "Binarise them first, with `gncn.data.from_arrays`."
        )


def _check_labels(labels: np.ndarray, n: int) -> None:
    if labels.dtype != np.int32 or labels.shape != (n,):
        raise DataError(
            f"Labels must be int32 of shape ({n},), one an image; received {labels.dtype} of "
            f"shape {labels.shape}. Convert them with `labels.astype(numpy.int32)`."
        )
    if labels.min() < NO_CLASS:
        raise DataError(
            f"Labels must count from 0, or be -1 for none; the smallest received is "
            f"{labels.min()}. Renumber the classes 0, 1, 2, ..."
        )
