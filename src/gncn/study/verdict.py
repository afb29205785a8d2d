"""Our numbers against the paper's, in four words.

Two numbers are the same if they differ by no more than 1 % of the paper's, or by two
standard errors of their difference if that is more.
"""

from dataclasses import dataclass
from typing import Literal

from gncn.study.compare import Summary
from gncn.study.paper import EXCESS, PAPER_TRIALS

Kind = Literal["beaten", "reproduced", "not reached", "not attainable"]
KINDS: tuple[Kind, ...] = ("beaten", "reproduced", "not reached", "not attainable")

RELATIVE_TOLERANCE = 0.01
STANDARD_ERRORS = 2.0


@dataclass(frozen=True)
class Verdict:
    """A verdict, and why a number isn't attainable; empty otherwise."""

    kind: Kind
    reason: str = ""


def tolerance(ours: Summary, paper: float, paper_deviation: float | None) -> float:
    """Difference up to which two numbers, both means over trials, count as the same."""
    variance = (ours.deviation or 0.0) ** 2 / ours.n_trials
    variance += (paper_deviation or 0.0) ** 2 / PAPER_TRIALS
    return max(RELATIVE_TOLERANCE * abs(paper), STANDARD_ERRORS * variance**0.5)


def judge(
    ours: Summary, paper: float, paper_deviation: float | None = None, *, low_is_good: bool
) -> Verdict:
    """Whether the paper's number was beaten, reproduced or not reached."""
    better_by = paper - ours.mean if low_is_good else ours.mean - paper
    same = tolerance(ours, paper, paper_deviation)
    if better_by > same:
        return Verdict("beaten")
    return Verdict("reproduced" if better_by >= -same else "not reached")


def judge_completion(
    ours: Summary, paper: float, paper_deviation: float | None, floor: float | None
) -> Verdict:
    """As `judge`, for M-MSE: what lies below the floor isn't attainable.

    The floor is the M-MSE of a network trained for this mask alone, on the same images; it is None
    if there is none, or if a model is below it.
    """
    verdict = judge(ours, paper, paper_deviation, low_is_good=True)
    if verdict.kind != "not reached" or floor is None or paper >= floor:
        return verdict
    return Verdict(
        "not attainable",
        f"{paper:.2f} lies below the {floor:.2f} of a network trained by backprop for "
        "this half alone, and no model here is below that",
    )


def judge_as_printed(honest: Summary, printed: float, deviation: float | None) -> Verdict:
    """An honest log p(x), from which log S is subtracted, against the printed one."""
    verdict = judge(honest, printed, deviation, low_is_good=False)
    if verdict.kind != "not reached":
        return verdict
    return Verdict(
        "not attainable",
        f"the printed {printed:.2f} holds 2 log S = {EXCESS:.2f} nats too many and is no log p(x)",
    )
