"""Claims of a study, locked as its settings are, so that nobody chooses them by test results."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gncn.study.plan import Study
from gncn.study.record import NOT_LOCKED, LockedClaim, Record

LATE = "added after test images were measured"


def claims_of(study: Study, date: str = "", tested: bool = False) -> list[LockedClaim]:
    """The claims of a study as a lock holds them; see `LockedClaim`.

    A claim against all models names them: one that is dropped, or comes later, makes it another.
    """
    claims = []
    for one in study.claims:
        model = one.model or study.targets_for
        against = one.against or study.models.keys() - {model}
        claims.append(
            LockedClaim(
                claim=one.claim,
                model=model,
                column=one.column,
                against=tuple(sorted(against)),
                margin=one.margin,
                date=date,
                tested=tested,
            )
        )
    return claims


def unlocked(
    study: Study, locked: Iterable[LockedClaim], date: str = "", tested: bool = False
) -> list[LockedClaim]:
    """The claims of a study that its lock doesn't hold."""
    known = {one.words for one in locked}
    return [one for one in claims_of(study, date, tested) if one.words not in known]


class ClaimMarks(NamedTuple):
    """When the claims of a study were made.

    Attributes:
        marks: for each of `Study.claims`, in order: `LATE`; `NOT_LOCKED`, if nothing shows that
            it was made before test images had been measured; or empty, if nothing is wrong.
        gone: claims that were locked in time and that the study makes no more.
    """

    marks: tuple[str, ...]
    gone: tuple[LockedClaim, ...]


def mark_claims(study: Study, records: Sequence[Record]) -> ClaimMarks:
    """When the claims of a study were made, by its records of test images.

    A lock of which no record is left shows nothing.
    """
    runs = [one for one in records if one.spec["split"] == "test"]
    tests = [one for one in runs if one.status == "finished"]
    # First trials hold the claims, failed ones, too.
    told = [o.lock.claims for o in runs if o.lock is not None and o.lock.claims is not None]
    locked = [claim for claims in told for claim in claims]
    # Claims of a lock stand in every first trial; dates tell of claims from between two runs.
    late = {o.words for o in locked if o.tested or o.date > min(one.started for one in tests)}
    in_time = {o.words for o in locked} - late
    now = [one.words for one in claims_of(study)]
    wrong = (LATE if told else NOT_LOCKED) if tests else ""
    marks = tuple("" if words in in_time else wrong for words in now)
    gone = {o.words: o for o in locked if o.words in in_time and o.words not in now}
    return ClaimMarks(marks, tuple(gone.values()))
