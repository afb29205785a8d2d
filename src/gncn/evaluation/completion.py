"""Completion of images of which some pixels are missing: masks, completing, the score.

A mask is a boolean array of the pixels, True where a pixel is **visible**.  A completer
is any function ``complete(x, visible) -> images``.  It receives images whose missing
pixels are 0, so it can't have seen them.  Whatever it answers, visible pixels are returned
as they were, to the bit.

M-MSE (the paper's score) is the squared error summed over an image's missing pixels,
averaged over images.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Shaped

from gncn.base.errors import (
    ConfigError,
    DataError,
    DivergenceError,
    check_seed,
    check_shape,
    unknown_choice,
)
from gncn.base.extras import needs
from gncn.evaluation.images import PerImage, blocks
from gncn.evaluation.protocols import Images, Mask

HALVES = ("right", "left", "top", "bottom")

_AT_ONCE = 2000
"""Images handed to a completer at once."""


@runtime_checkable
class Completer(Protocol):
    """Fills in missing pixels."""

    def __call__(
        self, x: Float[Array, "images pixels"], visible: Bool[Array, " pixels"]
    ) -> Shaped[Array | np.ndarray, "images pixels"]:
        """Complete images whose missing pixels are 0; visible pixels may come back changed."""
        ...


class Combined(NamedTuple):
    """A weighted sum of what several ways of completing say, by their names.

    It is clipped to `limits`: [0, 1], or the least and largest value of real-valued images.
    """

    weights: Mapping[str, float]
    limits: tuple[float, float] = (0.0, 1.0)


Ways = Mapping[str, Completer | Combined]
"""Ways of completing by their names; a sum comes after the ways that it adds up."""


def visible_pixels(
    missing: str | Bool[Array | np.ndarray, "..."],
    image_shape: tuple[int, int],
    *,
    seed: int = 0,
) -> Bool[np.ndarray, " pixels"]:
    """Which pixels remain visible, in row-major order.

    The name says which half is hidden: ``"right"``, ``"left"``, ``"top"``, ``"bottom"``, or
    ``"random"``, which the seed decides.  Of an odd number of columns or rows the middle one stays
    visible.  An array of your own is True where a pixel is *visible*; it has the shape
    `image_shape`, or is flat.

    Raises:
        ConfigError: an unknown name, or an array of another size.
    """
    rows, columns = image_shape = check_shape(image_shape)
    visible = np.ones(image_shape, bool)
    if not isinstance(missing, str):
        own = np.asarray(missing)
        if own.shape not in (image_shape, (rows * columns,)):
            raise ConfigError(
                f"A mask for images of shape {image_shape} must have that shape or "
                f"({rows * columns},); received {own.shape}."
            )
        return own.reshape(-1)
    halves = {
        # `columns // 2` are hidden, so that the middle one of an odd number is visible on either
        # side.
        "right": np.s_[:, columns - columns // 2 :],
        "left": np.s_[:, : columns // 2],
        "top": np.s_[: rows // 2],
        "bottom": np.s_[rows - rows // 2 :],
    }
    if missing in halves:
        visible[halves[missing]] = False
    elif missing == "random":
        order = np.random.default_rng(check_seed(seed)).permutation(rows * columns)
        visible.reshape(-1)[order[: round(rows * columns / 2)]] = False
    else:
        raise unknown_choice("missing", missing, (*HALVES, "random", "an array"))
    return visible.reshape(-1)


def complete(
    completer: Completer,
    x: Images,
    visible: Bool[np.ndarray, " mask"] | Bool[np.ndarray, "_ mask"],
) -> Float[np.ndarray, "images pixels"]:
    """Whole images `x` without their missing pixels, filled in by `completer`.

    Visible pixels are as in `x`, in single precision.  A mask for each image is for completers
    that take such masks: the models' own, but not the ones that were learned for one mask.

    Raises:
        DataError: mask and images, or the answer, differ in shape.
        DivergenceError: a value filled in is not finite.
    """
    whole = np.asarray(x, np.float32)
    if visible.shape not in (whole.shape[1:], whole.shape):
        raise DataError(
            f"Images have {whole.shape[1]} pixels, but the mask has {visible.shape[-1]}."
            if visible.ndim == 1
            else f"Masks for {len(whole)} images have the shape {visible.shape}."
        )
    each = np.broadcast_to(visible, whole.shape)
    # A completer never receives the values that it is to guess.
    blank = np.where(each, whole, np.float32(0))
    completed = np.empty_like(whole)
    for rows, n in blocks(len(whole), _AT_ONCE):
        seen = visible if visible.ndim == 1 else visible[rows]
        filled = np.asarray(completer(jnp.asarray(blank[rows]), jnp.asarray(seen)))
        if filled.shape != blank[rows].shape:
            raise DataError(
                f"The completer returned shape {filled.shape} for images of shape "
                f"{blank[rows].shape}."
            )
        # The last block is filled up; what fills it is dropped.
        completed[rows[:n]] = filled[:n]
    # Visible pixels don't count: whatever a completer says of them is replaced.
    if not np.isfinite(completed[~each]).all():
        raise DivergenceError("The completer filled in values that are not finite.")
    return np.where(each, whole, completed)


def complete_in_ways(
    ways: Ways, x: Images, visible: Mask, *, on_way: Callable[[str], None] = lambda _: None
) -> dict[str, Float[np.ndarray, "images pixels"]]:
    """The answer of `complete` for each way; `on_way` receives the name of the next way.

    Raises:
        ConfigError: a sum adds up a way that doesn't come before it.
        DataError, DivergenceError: see `complete`.
    """
    completed: dict[str, Float[np.ndarray, "images pixels"]] = {}
    for name, way in ways.items():
        on_way(name)
        if not isinstance(way, Combined):
            completed[name] = complete(way, x, visible)
            continue
        for one in way.weights:
            if one not in completed:
                raise unknown_choice(f"way to combine in {name!r}", one, tuple(completed))
        total = sum(weight * completed[one] for one, weight in way.weights.items())
        whole = np.asarray(x, np.float32)
        completed[name] = np.where(visible[None, :], whole, np.clip(total, *way.limits))
    return completed


def combine(ways: Mapping[str, Completer], x: Images, visible: Mask) -> Combined:
    """The weighted sum of ways, no weight below 0, whose squared error on images is least.

    Raises:
        ConfigError: no pixel is missing.
        DataError, DivergenceError: see `complete`.
    """
    needs("scipy", "evaluation")
    from scipy.optimize import nnls

    missing = ~visible
    if not missing.any():
        raise ConfigError("To complete images some of their pixels must be missing; none are.")
    guesses = [complete(way, x, visible)[:, missing].ravel() for way in ways.values()]
    # In double precision: over all pixels of all images the sums are long.
    wanted = np.asarray(x)[:, missing].astype(np.float64).ravel()
    found = nnls(np.stack(guesses, axis=1).astype(np.float64), wanted)[0]
    # At least [0, 1]: for binary images the limits are probabilities whatever the images show.
    low, high = min(0.0, float(np.min(x))), max(1.0, float(np.max(x)))
    return Combined(dict(zip(ways, found.tolist(), strict=True)), (low, high))


def missing_squared_error(x: Images, completed: Images, visible: Mask) -> PerImage:
    """Squared error summed over each image's missing pixels; its mean is the M-MSE."""
    missing = ~visible
    truth, guess = (np.asarray(a)[:, missing].astype(np.float32) for a in (x, completed))
    return PerImage(np.sum((truth - guess) ** 2, axis=1))
