"""`Judged`: what a study's own numbers say of a claim, on one data set.

A verdict is of the study's held-out images: Welch's test over trials knows nothing of other images.
Only of error rates the numbers alone say how much images can matter.  Let p and q be the rates of
two models on the same n images, and d their difference.  An image's part in d is 1, 0 or −1, or a
mean of these over trials.  So its mean square is at most p + q, and also at most 2 − p − q.  That
makes sqrt((min(p + q, 2 − p − q) − d²) / n) the largest standard error that d can have, whichever
images the two models fail on.  As the burden of proof is the claim's, it must exceed two of these
to hold, but it fails without.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gncn.base.extras import needs
from gncn.study.paper import Summary, columns
from gncn.study.rows import ModelRow, remark_on
from gncn.study.texts import FIRST_EPOCH, Claim

_LEVEL = 0.05
"""Of Welch's test, two-sided."""
ERROR_RATES = ("error_percent",)
"""Columns that are shares of images, in percent."""


@dataclass(frozen=True)
class Judged:
    """A claim on one data set.

    Attributes:
        verdict: ``holds`` or ``fails``, with the claim's margin; ``level``, if Welch's test over
            trials can't tell the numbers apart at 5 %, or if ours is the better error rate by no
            more than images allow; ``not known``, if one has a single trial or isn't finite.
        ours: the number of the model that the claim is about.
        rival: the title of the best of the others; `theirs` is its number.
        n_rivals: how many others have the number.
        images: of error rates in percent: what images allow, see `allowed_by_images`; None for
            other numbers.
        remark: see `gncn.study.rows.remark_on`, of both models.
    """

    verdict: str
    ours: Summary
    rival: str
    theirs: Summary
    n_rivals: int
    images: float | None = None
    remark: str = ""


def judge_claim(
    claim: Claim, targets_for: str, rows: Sequence[ModelRow], n_images: int
) -> Judged | None:
    """A claim, by all models' numbers on one data set; about `targets_for` if it names no model.

    Numbers are of `n_images` images.

    None if the model, or one of the others that the claim names, has no number.
    """
    first = claim.column == FIRST_EPOCH
    cells = {row.key: row.first_epoch if first else row.cells[claim.column] for row in rows}
    found = {key: cell.ours for key, cell in cells.items() if cell.ours is not None}
    ours = found.pop(about := claim.model or targets_for, None)
    others = {key: found.get(key) for key in claim.against or found}
    rivals = {key: number for key, number in others.items() if number is not None}
    if ours is None or not rivals or len(rivals) < len(others):
        return None
    sign = 1 if first or columns()[claim.column].low_is_good else -1

    def rank(key: str) -> float:
        # What is no number is no rival, unless all are none.
        mean = sign * rivals[key].mean
        return math.inf if math.isnan(mean) else mean

    best = min(rivals, key=rank)
    theirs = rivals[best]
    rates = claim.column in ERROR_RATES
    images = allowed_by_images(ours.mean, theirs.mean, n_images) if rates else None
    by_key = {row.key: row for row in rows}
    return Judged(
        verdict=_verdict(ours, theirs, sign, images or 0.0, claim.margin),
        ours=ours,
        rival=by_key[best].title,
        theirs=theirs,
        n_rivals=len(rivals),
        images=images,
        remark=remark_on([by_key[about], by_key[best]]),
    )


def allowed_by_images(one: float, other: float, n_images: int) -> float:
    """Twice the largest standard error over images that two error rates' difference can have.

    All in percent; the head of this module derives it.
    """
    p, q = one / 100, other / 100
    square = max(min(p + q, 2 - p - q) - (p - q) ** 2, 0.0)
    return 200 * math.sqrt(square / n_images)


def _verdict(ours: Summary, theirs: Summary, sign: int, images: float, margin: float) -> str:
    """Whether ours is better, or worse by less than `margin`, and that by more than `images`.

    `sign` is 1 where less is better, and -1 elsewhere.
    """
    better_by = sign * (theirs.mean - ours.mean) + margin
    pair = [(d, one.n_trials) for one in (ours, theirs) if (d := one.deviation) is not None]
    if not math.isfinite(better_by) or len(pair) < 2:
        return "not known"
    needs("scipy", "evaluation")
    from scipy.stats import t

    # Welch's test: the variances of the means, and the degrees of freedom of their sum.
    variances = [(deviation**2 / n, n - 1) for deviation, n in pair]
    same = 0.0
    if error := math.sqrt(sum(variance for variance, _ in variances)):
        freedom = error**4 / sum(variance**2 / n for variance, n in variances)
        same = error * float(t.ppf(1 - _LEVEL / 2, freedom))
    if -same <= better_by <= max(same, images):
        return "level"
    return "holds" if better_by > 0 else "fails"
