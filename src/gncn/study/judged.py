"""`Judged`: what a study's own numbers say of a claim, on one data set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gncn.base.extras import needs
from gncn.study.paper import Summary, columns
from gncn.study.rows import ModelRow
from gncn.study.texts import FIRST_EPOCH, Claim

_LEVEL = 0.05
"""Of Welch's test, two-sided."""


@dataclass(frozen=True)
class Judged:
    """A claim on one data set.

    Attributes:
        verdict: ``holds`` or ``fails``; ``level``, if Welch's test over trials can't tell the
            numbers apart at 5 %; ``not known``, if one has a single trial or isn't finite.
        ours: the number of the model that the claim is about.
        rival: the title of the best of the others; `theirs` is its number.
        n_rivals: how many others have the number.
    """

    verdict: str
    ours: Summary
    rival: str
    theirs: Summary
    n_rivals: int


def judge_claim(claim: Claim, targets_for: str, rows: Sequence[ModelRow]) -> Judged | None:
    """A claim, by all models' numbers on one data set; about `targets_for` if it names no model.

    None if the model, or one of the others that the claim names, has no number.
    """
    first = claim.column == FIRST_EPOCH
    cells = {row.key: row.first_epoch if first else row.cells[claim.column] for row in rows}
    found = {key: cell.ours for key, cell in cells.items() if cell.ours is not None}
    ours = found.pop(claim.model or targets_for, None)
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
    verdict = _verdict(ours, rivals[best], sign)
    title = next(row.title for row in rows if row.key == best)
    return Judged(verdict, ours, title, rivals[best], len(rivals))


def _verdict(ours: Summary, theirs: Summary, sign: int) -> str:
    """Whether ours is better; `sign` is 1 where less is better, and -1 elsewhere."""
    better_by = sign * (theirs.mean - ours.mean)
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
    return "level" if abs(better_by) <= same else "holds" if better_by > 0 else "fails"
