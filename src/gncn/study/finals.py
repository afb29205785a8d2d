"""`Final`: a training on all images, of settings that a search tried on a part of them.

A trial's number of epochs suits the few images that it learned from.  On ten times as many images
as many epochs are ten times as many updates, and some models get worse by them.  So finals may also
learn for a share of the epochs: see `Budget.final_epochs`.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from optuna.trial import FrozenTrial

from gncn.study.search import Budget


class Final(NamedTuple):
    """The number of the trial whose settings learn, and for how many epochs; None: its own."""

    number: int
    n_epochs: int | None = None

    @property
    def key(self) -> str:
        """Its name in journals and summaries: ``3``, or ``3-12`` for 12 epochs."""
        return str(self.number) if self.n_epochs is None else f"{self.number}-{self.n_epochs}"

    @classmethod
    def of(cls, key: str) -> "Final":
        """The final of a key."""
        number, _, n_epochs = key.partition("-")
        return cls(int(number), int(n_epochs) if n_epochs else None)

    @property
    def length(self) -> str:
        """The end of a line about it: how long it learns, if not as long as the trial."""
        known = {None: "", 1: " for one epoch"}
        return known.get(self.n_epochs, f" for {self.n_epochs} epochs")

    @property
    def settings(self) -> dict[str, Any]:
        """What it lays over the trial's settings."""
        return {} if self.n_epochs is None else {"training.n_epochs": self.n_epochs}


def all_finals(
    ranked: Sequence[FrozenTrial],
    recipe: Mapping[str, Any],
    budget: Budget,
    n_epochs: Callable[[FrozenTrial], int | None],
) -> list[Final]:
    """The finals of a search: of the recipe first, then of the best trials; each once.

    Args:
        ranked: complete trials, best first.
        recipe: the values that the search began with.
        budget: says how many trials, and for which shares of their epochs.
        n_epochs: of a trial's training; None for a model that doesn't learn in epochs.
    """
    # The recipe's own trials, by their settings: the first may have been killed and tried again.
    begun = sorted(trial.number for trial in ranked if trial.params == recipe)
    trials = {trial.number: trial for trial in ranked}
    found: dict[Final, None] = {}
    for number in (*begun[:1], *[trial.number for trial in ranked[: budget.finalists]]):
        found[Final(number)] = None
        if (whole := n_epochs(trials[number])) is not None:
            shorter = (max(1, round(whole * share)) for share in budget.final_epochs)
            found |= {Final(number, n): None for n in shorter if n != whole}
    return [*found]


def best_final(outcomes: Mapping[str, Mapping[str, Any]]) -> Final | None:
    """The best of the finals that ended well; ties go to the earlier trial, and to more epochs."""
    ended = [
        (one["objective"], final.number, -(final.n_epochs or float("inf")), final)
        for final, one in ((Final.of(key), one) for key, one in outcomes.items())
        if one["objective"] is not None
    ]
    return min(ended)[-1] if ended else None
