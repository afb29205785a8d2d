"""Users' own data: `from_arrays` (in memory), `load_file` (.npy, .npz), and binarisation."""

from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float32, Int32, Integer, Shaped
from pydantic import model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError, DataError, shortened, unknown_choice
from gncn.base.files import place
from gncn.data.stored import StoredImages, map_file, read_npy, read_npz
from gncn.data.types import Dataset, Images, Split, split_off

Binarisation = Literal["threshold", "stochastic", "none"]
"""How intensities become images; see `binarise`."""

DEFAULT_THRESHOLD = 0.5
"""Intensity from which a pixel is on, as in the paper (section 4.1)."""

Raw = Shaped[np.ndarray, "..."]
"""Images as users have them: (n, pixels) or (n, rows, cols), any real type, which is checked."""

RawLabels = Integer[np.ndarray, "_"]
"""Labels as users have them: integers from 0."""

_PARTS = ("train", "validation", "test")
_MEMBERS = tuple(f"{part}_{what}" for part in _PARTS for what in ("images", "labels"))


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
        max_value: the value of a pixel that is fully on: 1 unless given, 255 for 8-bit images.
            It is never guessed.
        image_shape: (rows, cols) for images given as (n, pixels), to draw them; taken from the
            array for images given as (n, rows, cols).
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

    def see(self, images: Raw, what: str, draws: np.random.Generator | None = None) -> Images:
        """Images as a model sees them; a `DataError` if a value is out of range.

        Args:
            images: of a real type and a shape that were checked.
            what: what they are, for messages.
            draws: for stochastic binarisation; all splits draw from one generator.
        """
        low, high = images.min(), images.max()
        if not (low >= 0 and high <= self.white):  # also refuses NaN
            raise DataError(
                f"{what} must lie within 0..max_value={self.white}; received values from {low} "
                f"to {high}. Rescale them, or state the value of a pixel that is fully on: "
                "max_value=255 for 8-bit images."
            )
        flat = images.reshape(len(images), -1)
        if flat.dtype == np.uint8 and self.rule == "threshold":  # 20 times as fast as floats
            values = (np.arange(256)[None, :] / self.white).astype(np.float32)
            n_off = int((binarise(values, threshold=self.threshold) == 0).sum())
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
        if self.rule == "none":
            return f"pixel/{self.white:g}, not binarised"
        if self.rule == "stochastic":
            seed = self.binarisation_seed or 0
            return f"on with probability pixel/{self.white:g} (binarisation_seed={seed})"
        level = DEFAULT_THRESHOLD if self.threshold is None else self.threshold
        return f"binarised at pixel/{self.white:g} >= {level:g}"


def from_arrays(
    train_images: Raw,
    train_labels: RawLabels | None = None,
    *,
    validation_images: Raw | None = None,
    validation_labels: RawLabels | None = None,
    test_images: Raw | None = None,
    test_labels: RawLabels | None = None,
    source: str = "arrays in memory",
    **options: Any,
) -> Dataset:
    """Make a data set of your own images.

    Args:
        train_images: shape (n, pixels) or (n, rows, cols); values from 0 to
            `max_value`, of a boolean, integer or floating type.
        train_labels: class of each, integers from 0, shape (n,); or None. Either
            all splits given have labels or none has.
        validation_images: None to split them off at random.
        validation_labels: class of each.
        test_images: None to split them off at random.
        test_labels: class of each.
        source: where the data come from, for people.
        options: see `gncn.data.Preparation`: the name, how many images to split off, the
            binarisation, and `max_value`, which 8-bit images need.

    Raises:
        ConfigError: an unknown rule, or options that exclude each other.
        DataError: images or labels of the wrong shape, type or range.

    Examples:
        >>> images = np.random.default_rng(0).random((50, 4, 4))
        >>> data = from_arrays(images, max_value=1.0)
        >>> len(data.train), len(data.validation), len(data.test), data.image_shape
        (40, 5, 5, (4, 4))
    """
    preparation = Preparation(**options)
    images = _given(train_images, validation_images, test_images)
    labels = _given(train_labels, validation_labels, test_labels)
    for part in set(labels) - set(images):
        raise ConfigError(f"{part}_labels are given without {part}_images. Pass both.")
    if labels and set(labels) != set(images):
        raise DataError(
            f"Either all splits have labels or none has; received images for {sorted(images)} and "
            f"labels for {sorted(labels)}."
        )
    stochastic = preparation.rule == "stochastic"
    draws = np.random.default_rng(preparation.binarisation_seed or 0) if stochastic else None
    shape, splits = preparation.image_shape, {}
    for part, raw in images.items():
        shape = _image_shape(raw, shape, f"{part}_images")
        pixels = preparation.see(raw, f"{part}_images", draws)
        if not pixels.any():
            raise preparation.all_off(f"{part}_images", raw.max())
        splits[part] = Split(pixels, _labels(labels.get(part), len(raw), f"{part}_labels"))
    return _dataset(splits, preparation, shape, source)


def load_file(path: str | Path, *, stream: bool = False, **options: Any) -> Dataset:
    """Make a data set of your own file.

    Args:
        path: a ``.npy`` file that holds the images, or a ``.npz`` file that holds ``train_images``
            and, if you have them, ``train_labels``, ``validation_images``, ``validation_labels``,
            ``test_images`` and ``test_labels``. Pickled objects are refused.
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
        return from_arrays(**_read_members(path), source=f"the file {path.name}", **options)
    if preparation.rule == "stochastic":
        raise ConfigError(
            "Streamed images can't be binarised with binarisation='stochastic', whose draws "
            "are made once for all images. Use 'threshold', or binarise the file beforehand."
        )
    stored, shape = _store(path, preparation)
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


def _given(*arrays: np.ndarray | None) -> dict[str, np.ndarray]:
    return {part: array for part, array in zip(_PARTS, arrays, strict=True) if array is not None}


def _dataset(
    splits: dict[str, Split],
    preparation: Preparation,
    image_shape: tuple[int, int] | None,
    source: str,
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
    seed = preparation.split_seed
    rest, *parts = split_off(splits["train"], sizes.values(), seed=seed)
    splits = {**splits, **dict(zip(sizes, parts, strict=True)), "train": rest}
    largest = [int(split.labels.max()) for split in splits.values() if split.labels is not None]
    drawn = "".join(f"; {size} images split off for {part}" for part, size in sizes.items())
    return Dataset(
        **splits,
        name=preparation.name or "custom",
        image_shape=image_shape,
        n_classes=1 + max(largest) if largest else None,
        source=f"{source}; {preparation}{drawn}" + (f" (split_seed={seed})" if sizes else ""),
        licence="yours",
    )


def _read_members(path: Path) -> dict[str, np.ndarray]:
    if path.suffix not in (".npy", ".npz"):
        raise DataError(f"Expected a .npy or .npz file; received {path}. Save it with NumPy.")
    if path.suffix == ".npy":
        return {"train_images": read_npy(path)}

    def check(members: list[str]) -> None:
        if set(members) - set(_MEMBERS) or "train_images" not in members:
            raise DataError(
                f"{path} must hold train_images and may hold {', '.join(_MEMBERS[1:])}; received "
                f"{shortened(', '.join(sorted(members)), 200) or 'no array'}. Rename the arrays."
            )

    return read_npz(path, check)


def _store(path: Path, preparation: Preparation) -> tuple[StoredImages, tuple[int, int] | None]:
    """Map the file and read through it once, to refuse what `from_arrays` would refuse."""
    raw, identity = map_file(path)
    what = f"The images in {path}"
    shape = _image_shape(raw, preparation.image_shape, what)
    see = partial(preparation.see, what=what)
    dtype = np.dtype(np.float32 if preparation.rule == "none" else np.uint8)
    stored = StoredImages(path, raw.reshape(len(raw), -1), see, dtype, identity)
    on = [block.any() for block in stored.blocks()]  # looks at every block, so all are checked
    if not any(on):
        raise preparation.all_off(what, raw.max())
    return stored, shape


def _image_shape(
    images: Raw, image_shape: tuple[int, int] | None, what: str
) -> tuple[int, int] | None:
    """(rows, cols) of images in a user's array, which is checked; None if nothing says so."""
    if images.dtype.kind not in "biuf":
        raise DataError(
            f"{what} must be of a boolean, integer or floating type; received {images.dtype}."
        )
    if image_shape is not None and min(image_shape) < 1:
        raise DataError(f"image_shape must be (rows, cols), both positive; received {image_shape}.")
    if images.ndim not in (2, 3) or 0 in images.shape:
        raise DataError(
            f"{what} must have the shape (n, pixels) or (n, rows, cols), none of them 0; received "
            f"{images.shape}."
        )
    if images.ndim == 2:
        return image_shape
    rows, cols = images.shape[1:]
    if image_shape not in (None, (rows, cols)):
        raise DataError(
            f"{what} are {rows} x {cols}, but image_shape (given, or another split's) is "
            f"{image_shape}. Correct one of them."
        )
    return rows, cols


def _labels(labels: RawLabels | None, n: int, what: str) -> Int32[np.ndarray, " n"] | None:
    if labels is None:
        return None
    if labels.dtype.kind not in "iu" or labels.shape != (n,):
        raise DataError(
            f"{what} must be integers of shape ({n},), one an image; received {labels.dtype} of "
            f"shape {labels.shape}."
        )
    if labels.max() > np.iinfo(np.int32).max:
        raise DataError(f"{what} must be class numbers 0, 1, 2, ...; received {labels.max()}.")
    return labels.astype(np.int32)
