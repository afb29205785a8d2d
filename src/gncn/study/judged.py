"""`Judged`: what a study's own numbers say of a claim, on one data set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from gncn.study.paper import Summary, columns
from gncn.study.rows import ModelRow
from gncn.study.texts import FIRST_EPOCH, Claim

_ERRORS = 2
"""Standard errors over trials that a difference must have."""


@dataclass(frozen=True)
class Judged:
    """A claim on one data set: ``holds``, ``level`` or ``fails``, and both numbers.

    Attributes:
        verdict: level, if the means differ by less than two standard errors of the difference over
            trials.
        ours: the number of the model that the claim is about.
        rival: the title of the best of the others; `theirs` is its number.
    """

    verdict: str
    ours: Summary
    rival: str
    theirs: Summary


def judge_claim(claim: Claim, model: str, rows: Sequence[ModelRow]) -> Judged | None:
    """A claim about a model, by all models' numbers on one data set; None if some are missing."""
    first = claim.column == FIRST_EPOCH
    found = {
        row.key: row.first_epoch.ours if first else row.cells[claim.column].ours for row in rows
    }
    ours = found.pop(model, None)
    others = {
        key: number
        for key, number in found.items()
        if number is not None and (not claim.against or key in claim.against)
    }
    if ours is None or not others:
        return None
    sign = 1 if first or columns()[claim.column].low_is_good else -1
    rival = min(others, key=lambda key: sign * others[key].mean)
    theirs = others[rival]
    better_by = sign * (theirs.mean - ours.mean)
    # A single trial has no spread, so any difference counts.
    same = _ERRORS * math.hypot(_error(ours), _error(theirs))
    verdict = "holds" if better_by > same else "fails" if better_by < -same else "level"
    return Judged(verdict, ours, next(row.title for row in rows if row.key == rival), theirs)


def _error(number: Summary) -> float:
    return (number.deviation or 0.0) / math.sqrt(number.n_trials)
