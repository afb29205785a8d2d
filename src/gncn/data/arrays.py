"""Users' own data: `from_arrays` (in memory), `load_file` (files, folders), and binarisation."""

from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float32, Int32, Shaped
from pydantic import model_validator

from gncn.base.arrays import (
    NO_CLASS,
    as_rows,
    check_values,
    is_grey,
    plain,
    single,
    white_of,
)
from gncn.base.description import Description
from gncn.base.errors import ConfigError, DataError, unknown_choice
from gncn.base.files import place
from gncn.base.labels import as_labels
from gncn.base.notices import say_once
from gncn.data.files import PARTS, read_members
from gncn.data.stored import StoredImages, map_file
from gncn.data.types import Dataset, Images, Split, split_off

Binarisation = Literal["threshold", "stochastic", "none"]
"""How intensities become images; see `binarise`."""

DEFAULT_THRESHOLD = 0.5
"""Intensity from which a pixel is on, as in the paper (section 4.1)."""

Raw = Shaped[np.ndarray, "..."]
"""Images as `gncn.base.arrays.plain` makes them, of any real type and shape."""

_AT_ONCE = 1 << 20
"""Pixels looked at together, so that little memory is taken."""
_FIRST = 256
"""Streamed images that are looked at to say whether they are grey."""


class Preparation(Description):
    """How images of your own become a data set: options of `from_arrays` and `load_file`.

    Attributes:
        name: what to call the data set; ``custom``, or the file's name, unless given.
        n_validation: images to split off at random for validation; a tenth (at least one)
            unless given.  Only where no validation images are given.
        split_seed: decides which images are split off.
        binarisation: ``threshold`` (unless given), ``stochastic`` or ``none``; see `binarise`.
            All splits are treated alike.
        threshold: for ``threshold``: the intensity (a fraction of `max_value`) from which a
            pixel is on; 0.5 unless given.
        binarisation_seed: for ``stochastic``: seed of the draws; 0 unless given.
        max_value: the value of a pixel that is fully on: 1 unless given, but 255 for 8-bit images
            (uint8, with values above 1), which is said once.  With the rule ``none`` any finite
            value is data, unless a `max_value` is given.
        image_shape: (rows, cols) for images given as (n, pixels), to draw them; taken from the
            array for images given as (n, rows, cols) or (n, rows, cols, channels).
        n_test: as `n_validation`, for testing.

    Raises:
        ConfigError: an option is out of range, or belongs to another kind of binarisation.
    """

    name: str | None = None
    n_validation: int | None = None
    split_seed: int = 0
    binarisation: Binarisation | None = None
    threshold: float | None = None
    binarisation_seed: int | None = None
    max_value: float | None = None
    image_shape: tuple[int, int] | None = None
    n_test: int | None = None

    @model_validator(mode="after")
    def _check(self) -> "Preparation":
        _check_rule(self.rule, self.threshold, self.binarisation_seed)
        if self.white <= 0:
            raise ConfigError(f"max_value must be a positive number; received {self.max_value}.")
        return self

    @property
    def rule(self) -> Binarisation:
        """How intensities become images."""
        return self.binarisation or "threshold"

    @property
    def white(self) -> float:
        """The value of a pixel that is fully on."""
        return 1.0 if self.max_value is None else self.max_value

    def suited(self, what: str, *images: Raw, white: float | None = None) -> "Preparation":
        """The same for these images; 255 is the `max_value` of 8-bit ones, if none is given.

        `white` is what the model's own images were divided by: see `gncn.base.arrays.white_of`.
        """
        if self.max_value is not None:
            return self
        # One grey split makes all splits 8-bit: they must be scaled alike.
        found = max(white_of(one, what, white) for one in images)
        return self if found == 1 else self.model_copy(update={"max_value": found})

    def tell(self, images: Raw, what: str) -> None:
        """Say once that greys are binarised, unless the rule was given."""
        if self.binarisation is not None or (images.dtype.kind in "biu" and self.white <= 1):
            return
        # About a million pixels at a time, so that no copy of all is made.
        n_rows = max(1, _AT_ONCE * len(images) // images.size)
        parts = (images[start : start + n_rows] for start in range(0, len(images), n_rows))
        if any(((part > 0) & (part < self.white)).any() for part in parts):
            say_once(
                "binarised",
                f"{what} are greys: they are {self}. binarisation='none' keeps them: a Bernoulli "
                "output takes them as probabilities, a Gaussian one as they are. "
                "binarisation='threshold' says that this is meant.",
            )

    def see(self, images: Raw, what: str, draws: np.random.Generator | None = None) -> Images:
        """Images as a model sees them; a `DataError` if a value is out of range.

        Args:
            images: of a real type and a shape that were checked.
            what: what they are, for messages.
            draws: for stochastic binarisation; all splits draw from one generator.
        """
        flat = images.reshape(len(images), -1)
        if self.rule == "none" and self.max_value is None:
            values = single(flat, what)
            check_values(values, what)
            return values
        low, high = flat.min(), flat.max()
        if not (low >= 0 and high <= self.white):  # also refuses NaN
            # Values that are not finite have a message of their own.
            check_values(single(flat, what), what)
            kept = (
                ""
                if self.rule == "none"
                else ", or keep them as real numbers: binarisation='none', likelihood='gaussian' "
                "(as options: --set data.binarisation=none --set network.likelihood=gaussian)"
            )
            raise DataError(
                f"{what} must lie within 0..max_value={self.white}; received values from {low} "
                f"to {high}. Rescale them, state the value of a pixel that is fully on (max_value)"
                f"{kept}."
            )
        if flat.dtype == np.uint8 and self.rule == "threshold":  # 20 times as fast as floats
            # All 256 values are binarised once; the first that is on decides for all pixels.
            values = (np.arange(256)[None, :] / self.white).astype(np.float32)
            n_off = int((binarise(values, threshold=self.threshold) == 0).sum())
            # A view, not a copy: booleans and bytes look the same in memory.
            return (flat >= n_off).view(np.uint8)
        intensities = (flat / self.white).astype(np.float32)
        return binarise(intensities, self.rule, threshold=self.threshold, seed=draws)

    def all_off(self, what: str, largest: object) -> DataError:
        """The error for images that are all black."""
        return DataError(
            f"All pixels of {what} are off (0): the largest value is {largest} of "
            f"max_value={self.white}. Lower max_value or the threshold ({self.threshold})."
        )

    def __str__(self) -> str:
        if self.rule == "none" and self.max_value is None:
            return "real values, not binarised"
        if self.rule == "none":
            return f"pixel/{self.white:g}, not binarised"
        if self.rule == "stochastic":
            seed = self.binarisation_seed or 0
            return f"on with probability pixel/{self.white:g} (binarisation_seed={seed})"
        level = DEFAULT_THRESHOLD if self.threshold is None else self.threshold
        return f"binarised at pixel/{self.white:g} >= {level:g}"


def from_arrays(
    train_images: Any,
    train_labels: Any = None,
    *,
    validation_images: Any = None,
    validation_labels: Any = None,
    test_images: Any = None,
    test_labels: Any = None,
    source: str = "arrays in memory",
    **options: Any,
) -> Dataset:
    """Make a data set of your own images.

    Args:
        train_images: any array (see `gncn.base.arrays`) of shape (n, pixels), (n, rows, cols) or
            (n, rows, cols, channels); values from 0 to `max_value`, or with
            ``binarisation="none"`` any finite values.
        train_labels: class of each, shape (n,): whole numbers from 0, text, booleans or
            categories, and -1 or None for an image without; or None. Either all splits given
            have labels or none has.
        validation_images: None to split them off at random.
        validation_labels: class of each.
        test_images: None to split them off at random.
        test_labels: class of each.
        source: where the data come from, for people.
        options: see `gncn.data.Preparation`: the name, how many images to split off, the
            binarisation, and `max_value`.

    Raises:
        ConfigError: an unknown rule, or options that exclude each other.
        DataError: images or labels of the wrong shape, type or range.

    Examples:
        >>> images = np.random.default_rng(0).random((50, 4, 4)) > 0.5
        >>> data = from_arrays(images)
        >>> len(data.train), len(data.validation), len(data.test), data.image_shape
        (40, 5, 5, (4, 4))
    """
    preparation = Preparation(**options)
    images = {"train": train_images, **_given(None, validation_images, test_images)}
    labels = _given(train_labels, validation_labels, test_labels)
    for part in set(labels) - set(images):
        raise ConfigError(f"{part}_labels are given without {part}_images. Pass both.")
    if labels and set(labels) != set(images):
        raise DataError(
            f"Either all splits have labels or none has; received images for {sorted(images)} and "
            f"labels for {sorted(labels)}."
        )
    raw = {part: np.asarray(plain(one, f"{part}_images")) for part, one in images.items()}
    # Looked at in all splits before any of them is prepared.
    preparation = preparation.suited("train_images", *raw.values())
    stochastic = preparation.rule == "stochastic"
    draws = np.random.default_rng(preparation.binarisation_seed or 0) if stochastic else None
    shape, pixels = preparation.image_shape, {}
    for part, one in raw.items():
        shape = _image_shape(one, shape, f"{part}_images")
        pixels[part] = preparation.see(one, f"{part}_images", draws)
        preparation.tell(one, f"{part}_images")
        # Nothing would be left to learn; most often the value of white is wrong.
        if not pixels[part].any():
            raise preparation.all_off(f"{part}_images", one.max())
    numbers, names = _labels(labels, {part: len(one) for part, one in raw.items()})
    splits = {part: Split(pixels[part], numbers.get(part)) for part in raw}
    return _dataset(splits, preparation, shape, source, names)


def load_file(path: str | Path, *, stream: bool = False, **options: Any) -> Dataset:
    """Make a data set of your own file, or of a folder of pictures.

    Args:
        path: a ``.npy`` file that holds the images; a ``.npz`` file that holds ``train_images``
            and, if you have them, ``train_labels``, ``validation_images``, ``validation_labels``,
            ``test_images`` and ``test_labels``; a ``.csv`` or ``.parquet`` file with a row for
            each image; or a folder of PNG or JPEG files (`gncn.data.files`). Pickled objects are
            refused.
        stream: leave the images in the file, which then must be a ``.npy`` file, and read them
            while training, in the same order: for more images than memory holds. Binarisation by
            threshold happens then, too. Loading reads through the file once, to check it.
        options: see `gncn.data.Preparation`.

    Raises:
        ConfigError: an unknown rule, or options that exclude each other.
        DataError: the file is missing, damaged or of another kind, or `from_arrays` would
            refuse its arrays.
    """
    path = place(path)
    options["name"] = options.get("name") or path.stem
    preparation = Preparation(**options)
    if not stream:
        return from_arrays(**read_members(path), source=f"the file {path.name}", **options)
    if preparation.rule == "stochastic":
        raise ConfigError(
            "Streamed images can't be binarised with binarisation='stochastic', whose draws "
            "are made once for all images. Use 'threshold', or binarise the file beforehand."
        )
    stored, shape, preparation = _store(path, preparation)
    source = f"streamed from the file {path.name}"
    return _dataset({"train": Split(stored)}, preparation, shape, source)


def binarise(
    intensities: Float32[np.ndarray, "n pixels"],
    rule: Binarisation = "threshold",
    *,
    threshold: float | None = None,
    seed: int | np.random.Generator | None = None,
) -> Images:
    """Apply a binarisation rule.

    Args:
        intensities: values within [0, 1], shape (n, pixels).
        rule: ``"threshold"``: a pixel is on where its intensity reaches `threshold`.
            ``"stochastic"``: a pixel is on with a probability equal to its intensity, drawn once,
            from `seed`. ``"none"``: keep the real values (for a model with Gaussian outputs).
        threshold: within (0, 1]; 0.5 unless given. Only for ``"threshold"``.
        seed: a number from 0, or the generator to draw from; 0 unless given. Only for
            ``"stochastic"``.

    Raises:
        ConfigError: the rule is unknown, or an option is out of range or belongs to another rule.
    """
    _check_rule(rule, threshold, seed)
    if rule == "threshold":
        level = DEFAULT_THRESHOLD if threshold is None else threshold
        return (intensities >= level).astype(np.uint8)
    if rule == "stochastic":
        generator = np.random.default_rng(0 if seed is None else seed)
        uniform = generator.random(intensities.shape, dtype=np.float32)  # in [0, 1)
        return (uniform < intensities).astype(np.uint8)
    return intensities


def _check_rule(
    rule: Binarisation, threshold: float | None, seed: int | np.random.Generator | None
) -> None:
    """Refuse an unknown rule, and options that the rule would ignore."""
    if rule not in get_args(Binarisation):
        raise unknown_choice("binarisation rule", rule, get_args(Binarisation))
    for owner, value, what in (
        ("threshold", threshold, f"threshold={threshold}"),
        ("stochastic", seed, f"A binarisation seed ({seed})"),
    ):
        if value is not None and rule != owner:
            raise ConfigError(
                f"{what} has no meaning for the binarisation rule {rule!r}. Leave it out, or use "
                f"the rule {owner!r}."
            )
    if threshold is not None and not 0 < threshold <= 1:
        raise ConfigError(f"threshold must lie within (0, 1]; received {threshold}.")
    if isinstance(seed, int) and seed < 0:
        raise ConfigError(f"The binarisation seed must be at least 0; received {seed}.")


def _given(*arrays: Any) -> dict[str, Any]:
    return {part: array for part, array in zip(PARTS, arrays, strict=True) if array is not None}


def _dataset(
    splits: dict[str, Split],
    preparation: Preparation,
    image_shape: tuple[int, int] | None,
    source: str,
    class_names: tuple[str, ...] | None = None,
) -> Dataset:
    """Split off what isn't given: as many images as asked for, or a tenth."""
    sizes = {}
    for part in ("validation", "test"):
        size = getattr(preparation, f"n_{part}")
        if part not in splits:
            sizes[part] = max(1, len(splits["train"]) // 10) if size is None else size
        elif size is not None:
            raise ConfigError(
                f"n_{part}={size} asks to split images off, but {part}_images are given. Leave one "
                "of them out."
            )
    # Ordered: validation is drawn before testing, so a seed always gives the same split.
    seed = preparation.split_seed
    rest, *parts = split_off(splits["train"], sizes.values(), seed=seed)
    splits = {**splits, **dict(zip(sizes, parts, strict=True)), "train": rest}
    largest = [int(split.labels.max()) for split in splits.values() if split.labels is not None]
    drawn = "".join(f"; {size} images split off for {part}" for part, size in sizes.items())
    return Dataset(
        **splits,
        name=preparation.name or "custom",
        image_shape=image_shape,
        n_classes=len(class_names or ()) or (1 + max(largest) if largest else None),
        class_names=class_names,
        white=preparation.white,
        source=f"{source}; {preparation}{drawn}" + (f" (split_seed={seed})" if sizes else ""),
        licence="yours",
    )


def _store(
    path: Path, preparation: Preparation
) -> tuple[StoredImages, tuple[int, int] | None, Preparation]:
    """Map the file and read through it once, to refuse what `from_arrays` would refuse."""
    raw, identity = map_file(path)
    what = f"The images in {path}"
    shape = _image_shape(raw, preparation.image_shape, what)
    rows, kept = raw.reshape(len(raw), -1), np.dtype(np.uint8)
    # Bytes may be zeros and ones or greys; only the values tell, so they are read until one is
    # grey.
    if rows.dtype == np.uint8 and preparation.max_value is None:
        as_they_are = StoredImages(path, rows, lambda some: some, kept, identity)
        grey = next(filter(is_grey, as_they_are.blocks()), rows[:0])
        preparation = preparation.suited(what, grey)
    # A notice is worth a look at the first images, but not another pass over the file.
    preparation.tell(rows[:_FIRST], what)
    see = partial(preparation.see, what=what)
    dtype = np.dtype(np.float32) if preparation.rule == "none" else kept
    stored = StoredImages(path, rows, see, dtype, identity)
    on = [block.any() for block in stored.blocks()]  # looks at every block, so all are checked
    if not any(on):
        raise preparation.all_off(what, raw.max())
    return stored, shape, preparation


def _image_shape(
    images: Raw, image_shape: tuple[int, int] | None, what: str
) -> tuple[int, int] | None:
    """(rows, cols) of images in a user's array, which is checked; None if nothing says so.

    Channels are drawn side by side, or one above the other where they come first.
    """
    if image_shape is not None and min(image_shape) < 1:
        raise DataError(f"image_shape must be (rows, cols), both positive; received {image_shape}.")
    as_rows(images, None, what)
    match images.shape[1:]:
        case rows, cols:
            pass
        # Channels stand first unless the last axis could hold them, too.
        case (1 | 3 | 4) as channels, rows, cols if cols not in (1, 3, 4):
            rows = rows * channels
        case rows, cols, channels:
            cols = cols * channels
        case _:
            return image_shape
    if image_shape not in (None, (rows, cols)):
        raise DataError(
            f"{what} are {rows} x {cols}, but image_shape (given, or another split's) is "
            f"{image_shape}. Correct one of them."
        )
    return rows, cols


def _labels(
    labels: dict[str, Any], sizes: dict[str, int]
) -> tuple[dict[str, Int32[np.ndarray, "_"]], tuple[str, ...] | None]:
    """Class numbers of all splits, and the names of the classes, which the splits share."""
    found = {
        part: as_labels(raw, sizes[part], what=f"{part}_labels") for part, raw in labels.items()
    }
    # Names are collected over all splits first: a class may be missing in one of them.
    names = sorted({name for _, known in found.values() for name in known or ()})
    if names:
        found = {
            part: as_labels(raw, sizes[part], what=f"{part}_labels", classes=names)
            for part, raw in labels.items()
        }
        if odd := [part for part, (_, known) in found.items() if known is None]:
            raise DataError(
                f"Labels must be text in all splits or in none; labels of {odd} are numbers."
            )
    numbers = {part: values for part, (values, _) in found.items()}
    # Labels that say nothing are as good as none.
    if all((values == NO_CLASS).all() for values in numbers.values()):
        return {}, None
    return numbers, tuple(names) or None
