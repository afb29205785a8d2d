"""Users' own data: `from_arrays` (in memory), `load_file` (.npy, .npz), and binarisation."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float32, Int32, Integer, Shaped

from gncn.base.errors import ConfigError, DataError, unknown_choice
from gncn.data.reading import read_npy, read_npz
from gncn.data.stored import StoredImages, map_file
from gncn.data.types import Dataset, Images, Split, split_off

Binarisation = Literal["threshold", "stochastic", "none"]
"""How intensities become images; see `binarise`."""

DEFAULT_THRESHOLD = 0.5
"""Intensity from which a pixel is on, as in the paper (section 4.1)."""


Raw = Shaped[np.ndarray, "..."]
"""Images as users have them: (n, pixels) or (n, rows, cols), any real type, which is checked."""

RawLabels = Integer[np.ndarray, "_"]
"""Labels as users have them: integers from 0."""

_MEMBERS = (
    "train_images",
    "train_labels",
    "validation_images",
    "validation_labels",
    "test_images",
    "test_labels",
)


def binarise(
    intensities: Float32[np.ndarray, "n pixels"],
    rule: Binarisation = "threshold",
    *,
    threshold: float | int | None = None,
    seed: int | np.random.Generator | None = None,
) -> Images:
    """Apply a binarisation rule.

    Args:
        intensities: values within [0, 1], shape (n, pixels).
        rule: ``"threshold"``: a pixel is on where its intensity reaches
            `threshold`. ``"stochastic"``: a pixel is on with a probability equal
            to its intensity, drawn once, from `seed`. ``"none"``: keep the real
            values (for a model with Gaussian outputs).
        threshold: intensity within (0, 1] from which a pixel is on; 0.5 unless
            given. Only for ``"threshold"``.
        seed: seed of the draws, at least 0, or the generator to draw from; 0 unless
            given. Only for ``"stochastic"``.

    Returns:
        uint8 zeros and ones, or the float32 intensities for ``"none"``; shape
        (n, pixels).

    Raises:
        ConfigError: the rule is unknown, or an option is out of range or belongs
            to another rule.
    """
    check_rule(rule, threshold=threshold, seed=seed)
    if rule == "threshold":
        level = DEFAULT_THRESHOLD if threshold is None else threshold
        return (intensities >= level).astype(np.uint8)
    if rule == "stochastic":
        generator = np.random.default_rng(0 if seed is None else seed)
        uniform = generator.random(intensities.shape, dtype=np.float32)  # in [0, 1)
        return (uniform < intensities).astype(np.uint8)
    return intensities


def check_rule(
    rule: Binarisation, *, threshold: float | int | None, seed: int | np.random.Generator | None
) -> None:
    """Refuse an unknown rule, and options that the rule would ignore; see `binarise`."""
    if rule not in get_args(Binarisation):
        raise unknown_choice("binarisation rule", rule, get_args(Binarisation))
    if threshold is not None:
        if rule != "threshold":
            raise ConfigError(
                f"threshold={threshold} has no meaning for the binarisation rule {rule!r}. Leave "
                "it out, or use the rule 'threshold'."
            )
        if not 0 < threshold <= 1:
            raise ConfigError(f"threshold must lie within (0, 1]; received {threshold}.")
    if seed is not None:
        if rule != "stochastic":
            raise ConfigError(
                f"A binarisation seed ({seed}) has no meaning for the rule {rule!r}. Leave it "
                "out, or use the rule 'stochastic'."
            )
        if isinstance(seed, int) and seed < 0:
            raise ConfigError(f"The binarisation seed must be at least 0; received {seed}.")


def from_arrays(
    train_images: Raw,
    train_labels: RawLabels | None = None,
    *,
    validation_images: Raw | None = None,
    validation_labels: RawLabels | None = None,
    test_images: Raw | None = None,
    test_labels: RawLabels | None = None,
    name: str = "custom",
    image_shape: tuple[int, int] | None = None,
    max_value: float | int = 1.0,
    binarisation: Binarisation = "threshold",
    threshold: float | int | None = None,
    binarisation_seed: int | None = None,
    n_validation: int | None = None,
    n_test: int | None = None,
    split_seed: int = 0,
    source: str = "arrays in memory",
) -> Dataset:
    """Make a data set of your own images.

    Args:
        train_images: shape (n, pixels) or (n, rows, cols); values from 0 to
            `max_value`, of a boolean, integer or floating type.
        train_labels: class of each, integers from 0, shape (n,); or None. Either
            all splits given have labels or none has.
        validation_images: as `train_images`; None to split them off at random.
        validation_labels: class of each.
        test_images: as `train_images`; None to split them off at random.
        test_labels: class of each.
        name: what to call the data set.
        image_shape: (rows, cols) for images given as (n, pixels), to draw them;
            taken from the array for images given as (n, rows, cols).
        max_value: the value of a pixel that is fully on: 1, or 255 for 8-bit
            images. It is never guessed.
        binarisation: ``"threshold"``, ``"stochastic"`` or ``"none"``; see
            `gncn.data.binarise`. All splits are treated alike.
        threshold: for ``"threshold"``: the intensity (a fraction of `max_value`)
            from which a pixel is on; 0.5 unless given.
        binarisation_seed: for ``"stochastic"``: seed of the draws; 0 unless given.
        n_validation: images to split off for validation; a tenth (at least one)
            unless given. Only without `validation_images`.
        n_test: images to split off for testing, likewise.
        split_seed: decides which images are split off.
        source: where the data come from, for people.

    Returns:
        The data set: uint8 zeros and ones, or float32 for ``binarisation="none"``.

    Raises:
        ConfigError: an unknown rule, or options that exclude each other.
        DataError: images or labels of the wrong shape, type or range.

    Examples:
        >>> images = np.random.default_rng(0).random((50, 4, 4))
        >>> data = from_arrays(images, max_value=1.0)
        >>> len(data.train), len(data.validation), len(data.test), data.image_shape
        (40, 5, 5, (4, 4))
    """
    rule = _Rule(max_value, binarisation, threshold, binarisation_seed)
    given = {
        "train": (train_images, train_labels),
        "validation": (validation_images, validation_labels),
        "test": (test_images, test_labels),
    }
    asked = {"validation": n_validation, "test": n_test}
    _check_sizes(given, asked)

    stochastic = binarisation == "stochastic"
    draws = np.random.default_rng(binarisation_seed or 0) if stochastic else None
    splits = {}
    for part, (images, labels) in given.items():
        if images is None:
            continue
        image_shape = _image_shape(images, image_shape, f"{part}_images")
        pixels = rule.see(images, f"{part}_images", draws)
        if not pixels.any():
            raise rule.all_off(f"{part}_images", images.max())
        splits[part] = Split(
            pixels, None if labels is None else _labels(labels, len(images), f"{part}_labels")
        )
    return _dataset(splits, asked, split_seed, rule, name, image_shape, source)


def load_file(
    path: str | Path,
    *,
    name: str | None = None,
    image_shape: tuple[int, int] | None = None,
    max_value: float | int = 1.0,
    binarisation: Binarisation = "threshold",
    threshold: float | int | None = None,
    binarisation_seed: int | None = None,
    n_validation: int | None = None,
    n_test: int | None = None,
    split_seed: int = 0,
    stream: bool = False,
) -> Dataset:
    """Make a data set of your own file.

    Args:
        path: a ``.npy`` file that holds the images, or a ``.npz`` file that holds
            ``train_images`` and, if you have them, ``train_labels``,
            ``validation_images``, ``validation_labels``, ``test_images`` and
            ``test_labels``. Pickled objects are refused.
        name: what to call the data set; the file's name unless given.
        image_shape: see `from_arrays`, as for all that follow.
        max_value: 1, or 255 for 8-bit images.
        binarisation: ``"threshold"``, ``"stochastic"`` or ``"none"``.
        threshold: for ``"threshold"``.
        binarisation_seed: for ``"stochastic"``.
        n_validation: images to split off for validation.
        n_test: images to split off for testing.
        split_seed: decides which images are split off.
        stream: leave the images in the file, which then must be a ``.npy`` file, and read
            them while training, in the same order: for more images than memory holds.
            Binarisation by threshold happens then, too. Loading reads through the file
            once, to check it.

    Returns:
        The data set.

    Raises:
        ConfigError: an unknown rule, or options that exclude each other.
        DataError: the file is missing, damaged or of another kind, or its arrays
            have the wrong shape, type or range.
    """
    path = Path(path).expanduser()
    name = path.stem if name is None else name
    if stream:
        rule = _Rule(max_value, binarisation, threshold, binarisation_seed)
        if binarisation == "stochastic":
            raise ConfigError(
                "Streamed images can't be binarised with binarisation='stochastic', whose draws "
                "are made once for all images. Use 'threshold', or binarise the file beforehand."
            )
        stored, shape = _store(path, image_shape, rule)
        asked = {"validation": n_validation, "test": n_test}
        source = f"streamed from the file {path.name}"
        return _dataset({"train": Split(stored)}, asked, split_seed, rule, name, shape, source)
    return from_arrays(
        **_read_members(path),
        name=name,
        image_shape=image_shape,
        max_value=max_value,
        binarisation=binarisation,
        threshold=threshold,
        binarisation_seed=binarisation_seed,
        n_validation=n_validation,
        n_test=n_test,
        split_seed=split_seed,
        source=f"the file {path.name}",
    )


@dataclass(frozen=True)
class _Rule:
    """How users' pixels become the images that a model sees; see `from_arrays`."""

    max_value: float | int
    binarisation: Binarisation
    threshold: float | int | None
    seed: int | None

    def __post_init__(self) -> None:
        check_rule(self.binarisation, threshold=self.threshold, seed=self.seed)
        if not 0 < self.max_value < float("inf"):
            raise ConfigError(f"max_value must be a positive number; received {self.max_value}.")

    def see(self, images: Raw, what: str, draws: np.random.Generator | None = None) -> Images:
        low, high = images.min(), images.max()
        if not (low >= 0 and high <= self.max_value):  # also refuses NaN
            raise DataError(
                f"{what} must lie within 0..max_value={self.max_value}; received values from {low} "
                f"to {high}. Rescale them, or state the value of a pixel that is fully on: "
                "max_value=255 for 8-bit images."
            )
        intensities = (images.reshape(len(images), -1) / self.max_value).astype(np.float32)
        return binarise(intensities, self.binarisation, threshold=self.threshold, seed=draws)

    def all_off(self, what: str, largest: object) -> DataError:
        return DataError(
            f"All pixels of {what} are off (0): the largest value is {largest} of "
            f"max_value={self.max_value}. Lower max_value or the threshold ({self.threshold})."
        )

    def __str__(self) -> str:
        if self.binarisation == "none":
            return f"pixel/{self.max_value:g}, not binarised"
        if self.binarisation == "stochastic":
            return (
                f"on with probability pixel/{self.max_value:g} (binarisation_seed={self.seed or 0})"
            )
        level = DEFAULT_THRESHOLD if self.threshold is None else self.threshold
        return f"binarised at pixel/{self.max_value:g} >= {level:g}"


def _dataset(
    splits: dict[str, Split],
    asked: dict[str, int | None],
    split_seed: int,
    rule: _Rule,
    name: str,
    image_shape: tuple[int, int] | None,
    source: str,
) -> Dataset:
    """Split off what isn't given: as many images as asked for, or a tenth."""
    tenth = max(1, len(splits["train"]) // 10)
    missing = {part: size for part, size in asked.items() if part not in splits}
    sizes = {part: tenth if size is None else size for part, size in missing.items()}
    rest, *parts = split_off(splits["train"], sizes.values(), seed=split_seed)
    splits = {**splits, **dict(zip(sizes, parts, strict=True)), "train": rest}
    largest = [int(split.labels.max()) for split in splits.values() if split.labels is not None]
    drawn = "".join(f"; {size} images split off for {part}" for part, size in sizes.items())
    return Dataset(
        **splits,
        name=name,
        image_shape=image_shape,
        n_classes=1 + max(largest) if largest else None,
        source=f"{source}; {rule}{drawn}" + (f" (split_seed={split_seed})" if sizes else ""),
        licence="yours",
    )


def _read_members(path: Path) -> dict[str, np.ndarray]:
    if path.suffix not in (".npy", ".npz"):
        raise DataError(f"Expected a .npy or .npz file; received {path}. Save it with NumPy.")
    if path.suffix == ".npy":
        return {"train_images": read_npy(path)}
    members = read_npz(path)
    if set(members) - set(_MEMBERS) or "train_images" not in members:
        raise DataError(
            f"{path} must hold train_images and may hold {', '.join(_MEMBERS[1:])}; "
            f"received {', '.join(sorted(members)) or 'no array'}. Rename the arrays."
        )
    return members


def _store(
    path: Path, image_shape: tuple[int, int] | None, rule: _Rule
) -> tuple[StoredImages, tuple[int, int] | None]:
    """Map the file and read through it once, to refuse what `from_arrays` would refuse."""
    raw, identity = map_file(path)
    what = f"The images in {path}"
    shape = _image_shape(raw, image_shape, what)
    flat = raw.reshape(len(raw), -1)

    def see(rows: np.ndarray) -> Images:
        return rule.see(rows, what)

    dtype = np.dtype(np.float32 if rule.binarisation == "none" else np.uint8)
    stored = StoredImages(path, flat, see, dtype, identity)
    on = [block.any() for block in stored.blocks()]  # looks at every block, so all are checked
    if not any(on):
        raise rule.all_off(what, raw.max())
    if rule.binarisation == "threshold" and raw.dtype == np.uint8:
        # The same rule on the bytes themselves, which have been checked.
        bytes_ = np.arange(1 + min(int(rule.max_value), 255), dtype=np.uint8)
        last_off = bytes_[see(bytes_[:, None])[:, 0] == 0][-1]
        stored = replace(stored, see=lambda rows: (rows > last_off).view(np.uint8))
    return stored, shape


def _check_sizes(
    given: dict[str, tuple[Raw | None, RawLabels | None]], asked: dict[str, int | None]
) -> None:
    for part, size in asked.items():
        images, labels = given[part]
        if images is not None and size is not None:
            raise ConfigError(
                f"n_{part}={size} asks to split images off, but {part}_images are given. Leave one "
                "of them out."
            )
        if images is None and labels is not None:
            raise ConfigError(f"{part}_labels are given without {part}_images. Pass both.")
    labelled = {part for part, (_, labels) in given.items() if labels is not None}
    present = {part for part, (images, _) in given.items() if images is not None}
    if labelled and labelled != present:
        raise DataError(
            f"Either all splits have labels or none has; received images for {sorted(present)} and "
            f"labels for {sorted(labelled)}."
        )


def _image_shape(
    images: Raw, image_shape: tuple[int, int] | None, what: str
) -> tuple[int, int] | None:
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
            f"{what} are {rows} x {cols}, but image_shape (given, or that of another split) is "
            f"{image_shape}. Correct one of them."
        )
    return rows, cols


def _labels(labels: RawLabels, n: int, what: str) -> Int32[np.ndarray, " n"]:
    if labels.dtype.kind not in "iu" or labels.shape != (n,):
        raise DataError(
            f"{what} must be integers of shape ({n},), one an image; received {labels.dtype} of "
            f"shape {labels.shape}."
        )
    if labels.max() > np.iinfo(np.int32).max:
        raise DataError(f"{what} must be class numbers 0, 1, 2, ...; received {labels.max()}.")
    return labels.astype(np.int32)
