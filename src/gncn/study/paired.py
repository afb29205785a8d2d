"""Paired differences of log p(x): two models on the same images, image by image.

Images differ in log p(x) far more than models do, so a difference of means over the same images has
a much smaller error than either mean.  That error is over images; the models are single trials.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

ANNEALED = "annealed"
_TIGHT_SHARE, _TIGHT_MEDIAN = 0.9, 0.5


class Difference(NamedTuple):
    """Log p(x) of one model less another's, in nats.

    Attributes:
        mean: over the images that both were estimated on.
        error: standard error of the mean over images.
        verdict: ``ahead`` or ``behind``, if the mean is more than two standard errors from 0;
            ``level``; or ``not known``, if one of the estimates is not tight.
    """

    mean: float
    error: float
    verdict: str


class Pair(NamedTuple):
    """A model against another: differences by the estimate's name, over so many images."""

    other: str
    n_images: int
    differences: dict[str, Difference]

    def plain(self) -> dict[str, Any]:
        """The differences as plain values."""
        return {name: one._asdict() for name, one in self.differences.items()}


def is_tight(tight: Mapping[str, Any]) -> bool:
    """Whether estimates are tight: median gap below 0.5 nats, 90 % of the images below 2.

    The gap is between the bounds of images that the model simulated.
    """
    if (gaps := tight.get("simulated_images", {}).get("gaps")) is None:
        return False
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


def pair(ours: Mapping[str, Any], theirs: Mapping[str, Any], other: str) -> Pair | None:
    """Differences of two models' tight estimates; None if no images are the same.

    Both numbers are of the first images of one split, so where one has fewer the others are left
    out.
    """
    mine, others = _estimates(ours), _estimates(theirs)
    both = [name for name in mine if name in others]
    if not both:
        return None
    n = min(len(values) for found in (mine, others) for values in found.values())
    tight = is_tight(ours) and is_tight(theirs)
    differences = {}
    for name in both:
        found = mine[name][:n] - others[name][:n]
        mean, error = float(found.mean()), float(found.std(ddof=1) / np.sqrt(n)) if n > 1 else 0.0
        verdict = "level" if abs(mean) <= 2 * error else "ahead" if mean > 0 else "behind"
        # From prior samples, both are bounds for this S: a fact, though not about the densities.
        unknown = name == ANNEALED and not tight
        differences[name] = Difference(mean, error, "not known" if unknown else verdict)
    return Pair(other, n, differences)
