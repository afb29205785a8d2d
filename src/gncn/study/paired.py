"""Paired differences of log p(x): two models on the same images, image by image.

Images differ in log p(x) far more than models do, so a difference of means over the same images has
a much smaller error than either mean.  That error is over images.  It knows nothing of other trials
of the models, nor of other draws of the S codes, which all images share.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

ANNEALED = "annealed"
_TIGHT_SHARE, _TIGHT_MEDIAN, _FEWEST = 0.9, 0.5, 50


@dataclass(frozen=True)
class Difference:
    """Log p(x) of one model less another's, in nats.

    Attributes:
        mean: over the images that both were estimated on.
        error: standard error of the mean over images.
        verdict: ``level``, if the mean is within two standard errors of 0.  Else, from prior
            samples, ``higher`` or ``lower``: these are bounds, and their order is no order of the
            densities.  Of annealed estimates ``ahead`` or ``behind``, if they are tight and differ
            by more than they may be off, too; ``not tight``, where one is not.  ``not known``, of
            a single image, of what isn't finite, or where nobody knows whether one is tight.
    """

    mean: float
    error: float
    verdict: str


@dataclass(frozen=True)
class Pair:
    """A model against another, both by their titles.

    Attributes:
        n_images: over which differences are means.
        differences: by the estimate's name.
        remark: see `gncn.study.rows.remark_on`, of both models.
    """

    model: str
    other: str
    n_images: int
    differences: dict[str, Difference]
    remark: str = ""


def is_tight(tight: Mapping[str, Any]) -> bool | None:
    """Whether estimates are tight: median gap below 0.5 nats, 90 % of the images below 2.

    The gap is between the bounds of images that the model simulated.  None where there are fewer
    than 50 of them, or where only their mean is known.
    """
    found = tight.get("simulated_images", {})
    if (gaps := found.get("gaps")) is None or found["n"] < _FEWEST:
        return None
    return abs(gaps["median"]) < _TIGHT_MEDIAN and gaps["below_2_nats"] >= _TIGHT_SHARE


def _estimates(tight: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Log p(x) of each image, by the estimate's name."""
    same = tight.get("from_prior_samples", {})
    found = {
        f"S = {size:,}": np.asarray(values)
        for size, values in zip(same.get("n_samples", ()), same.get("per_image", ()), strict=True)
    }
    if "per_image" in tight:
        found[ANNEALED] = np.asarray(tight["per_image"])
    return found


def paired_differences(
    ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> tuple[int, dict[str, Difference]]:
    """How many images two models' tight estimates have in common, and the differences by name.

    Every model has the images in the same order, so where one has fewer the others are left out.
    Estimates of other images have nothing in common.
    """
    mine, others = _estimates(ours), _estimates(theirs)
    both = [name for name in mine if name in others]
    if not both:
        return 0, {}
    n = min(len(values) for found in (mine, others) for values in found.values())
    if ours.get("images", [])[:n] != theirs.get("images", [])[:n]:
        return 0, {}
    known = {}
    for name in both:
        found = mine[name][:n] - others[name][:n]
        mean = float(found.mean())
        error = float(found.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan")
        known[name] = Difference(mean, error, _verdict(name, mean, error, ours, theirs))
    return n, known


def _verdict(
    name: str, mean: float, error: float, ours: Mapping[str, Any], theirs: Mapping[str, Any]
) -> str:
    """Who is ahead; for tight estimates only by more than the other's may be too low."""
    if not np.isfinite(mean + error):
        return "not known"
    above = below = 0.0
    better, worse = "higher", "lower"
    if name == ANNEALED:
        known = is_tight(ours), is_tight(theirs)
        if not all(known):
            return "not tight" if False in known else "not known"
        # A lower bound: the other's true value may be higher by about its mean gap, which is known
        # up to its own error.
        gaps = (one["simulated_images"] for one in (theirs, ours))
        above, below = (abs(one["gap"]) + 2 * one["gap_error"] for one in gaps)
        better, worse = "ahead", "behind"
    if mean - 2 * error > above:
        return better
    return worse if mean + 2 * error < -below else "level"
