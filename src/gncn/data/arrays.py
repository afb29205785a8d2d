"""Users' own data: `from_arrays` (in memory) and `load_file` (.npy, .npz)."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Integer, Shaped

from gncn.base.errors import ConfigError, DataError
from gncn.data.binarise import DEFAULT_THRESHOLD, Binarisation, binarise, check_rule
from gncn.data.reading import read_npy, read_npz
from gncn.data.stored import StoredImages, map_file
from gncn.data.types import Dataset, Images, Split, split_off

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
    _check_options(max_value, binarisation, threshold, binarisation_seed)
    given = {
        "train": (train_images, train_labels),
        "validation": (validation_images, validation_labels),
        "test": (test_images, test_labels),
    }
    asked = {"validation": n_validation, "test": n_test}
    _check_sizes(given, asked)

    generator = None
    if binarisation == "stochastic":
        generator = np.random.default_rng(0 if binarisation_seed is None else binarisation_seed)
    splits = {}
    for part, (images, labels) in given.items():
        if images is None:
            continue
        image_shape = _image_shape(images, image_shape, f"{part}_images")
        intensities = _intensities(images, max_value, f"{part}_images")
        pixels = binarise(intensities, binarisation, threshold=threshold, seed=generator)
        if not pixels.any():
            raise _all_off(f"{part}_images", images.max(), max_value, threshold)
        splits[part] = Split(
            pixels, None if labels is None else _labels(labels, len(images), f"{part}_labels")
        )

    missing = {part: size for part, size in asked.items() if part not in splits}
    sizes = _sizes(len(splits["train"]), missing)
    rest, *parts = split_off(splits["train"], sizes.values(), seed=split_seed)
    splits.update(zip(sizes, parts, strict=True), train=rest)
    return Dataset(
        name=name,
        train=splits["train"],
        validation=splits["validation"],
        test=splits["test"],
        image_shape=image_shape,
        n_classes=_n_classes(splits.values()),
        source=f"{source}; {_describe(max_value, binarisation, threshold, binarisation_seed)}"
        f"{_describe_split(sizes, split_seed)}",
        licence="yours",
    )


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
        _check_options(max_value, binarisation, threshold, binarisation_seed)
        if binarisation == "stochastic":
            raise ConfigError(
                "Streamed images can't be binarised with binarisation='stochastic', whose draws "
                "are made once for all images. Use 'threshold', or binarise the file beforehand."
            )
        stored, shape = _store(path, image_shape, max_value, binarisation, threshold)
        sizes = _sizes(len(stored), {"validation": n_validation, "test": n_test})
        train, validation, test = split_off(Split(stored), sizes.values(), seed=split_seed)
        return Dataset(
            name=name,
            train=train,
            validation=validation,
            test=test,
            image_shape=shape,
            n_classes=None,
            source=f"streamed from the file {path.name}; "
            f"{_describe(max_value, binarisation, threshold, binarisation_seed)}"
            f"{_describe_split(sizes, split_seed)}",
            licence="yours",
        )
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
    path: Path,
    image_shape: tuple[int, int] | None,
    max_value: float | int,
    rule: Binarisation,
    threshold: float | int | None,
) -> tuple[StoredImages, tuple[int, int] | None]:
    """Map the file and read through it once, to refuse what `from_arrays` would refuse."""
    raw, identity = map_file(path)
    what = f"The images in {path}"
    shape = _image_shape(raw, image_shape, what)
    flat = raw.reshape(len(raw), -1)

    def see(rows: np.ndarray) -> Images:
        return binarise(_intensities(rows, max_value, what), rule, threshold=threshold)

    dtype = np.dtype(np.float32 if rule == "none" else np.uint8)
    stored = StoredImages(path, flat, see, dtype, identity)
    on = [block.any() for block in stored.blocks()]  # looks at every block, so all are checked
    if not any(on):
        raise _all_off(what, raw.max(), max_value, threshold)
    if rule == "threshold" and raw.dtype == np.uint8:
        # The same rule on the bytes themselves, which have been checked.
        bytes_ = np.arange(1 + min(int(max_value), 255), dtype=np.uint8)
        last_off = bytes_[see(bytes_[:, None])[:, 0] == 0][-1]
        stored = replace(stored, see=lambda rows: (rows > last_off).view(np.uint8))
    return stored, shape


def _check_options(
    max_value: float | int, rule: Binarisation, threshold: float | int | None, seed: int | None
) -> None:
    check_rule(rule, threshold=threshold, seed=seed)
    if not 0 < max_value < float("inf"):
        raise ConfigError(f"max_value must be a positive number; received {max_value}.")


def _sizes(n_images: int, asked: dict[str, int | None]) -> dict[str, int]:
    """Images to split off for each part; a tenth where no number is asked for."""
    return {part: max(1, n_images // 10) if size is None else size for part, size in asked.items()}


def _all_off(
    what: str, largest: object, max_value: float | int, threshold: float | int | None
) -> DataError:
    return DataError(
        f"All pixels of {what} are off (0): the largest value is {largest} of "
        f"max_value={max_value}. Lower max_value or the threshold ({threshold})."
    )


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


def _intensities(images: Raw, max_value: float | int, what: str) -> Float32[np.ndarray, "n pixels"]:
    low, high = images.min(), images.max()
    if not (low >= 0 and high <= max_value):  # also refuses NaN
        raise DataError(
            f"{what} must lie within 0..max_value={max_value}; received values from {low} to "
            f"{high}. Rescale them, or state the value of a pixel that is fully on: max_value=255 "
            "for 8-bit images."
        )
    flat = images.reshape(len(images), -1)
    return (flat / max_value).astype(np.float32)


def _labels(labels: RawLabels, n: int, what: str) -> Int32[np.ndarray, " n"]:
    if labels.dtype.kind not in "iu" or labels.shape != (n,):
        raise DataError(
            f"{what} must be integers of shape ({n},), one an image; received {labels.dtype} of "
            f"shape {labels.shape}."
        )
    if labels.max() > np.iinfo(np.int32).max:
        raise DataError(f"{what} must be class numbers 0, 1, 2, ...; received {labels.max()}.")
    return labels.astype(np.int32)


def _n_classes(splits: Iterable[Split]) -> int | None:
    largest = [int(split.labels.max()) for split in splits if split.labels is not None]
    return 1 + max(largest) if largest else None


def _describe_split(sizes: dict[str, int], split_seed: int) -> str:
    parts = "".join(f"; {size} images split off for {part}" for part, size in sizes.items())
    return parts + (f" (split_seed={split_seed})" if sizes else "")


def _describe(
    max_value: float | int, rule: Binarisation, threshold: float | int | None, seed: int | None
) -> str:
    if rule == "none":
        return f"pixel/{max_value:g}, not binarised"
    if rule == "stochastic":
        return f"on with probability pixel/{max_value:g} (binarisation_seed={seed or 0})"
    level = DEFAULT_THRESHOLD if threshold is None else threshold
    return f"binarised at pixel/{max_value:g} >= {level:g}"
