"""`Progress`: what training carries from epoch to epoch; `Fit`: what comes of it in the end.

`Interrupted` is Ctrl-C in the middle of it, and holds what was trained so far.
"""

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import numpy as np
from jaxtyping import Float

from gncn.training.epochs import TrainingState, unstack
from gncn.training.history import EpochRecord

Status = Literal["finished", "interrupted", "diverged"]
M = TypeVar("M")


@dataclass(frozen=True, repr=False)
class Fit(Generic[M]):
    """The result of training.

    Attributes:
        networks: one for each trial, from the last whole epoch, or with early stopping
            from the best one.
        history: one record for each trial and epoch.
        status: ``finished``; in exceptions ``interrupted`` by Ctrl-C, or ``diverged``.
        epochs_kept: the epoch that each of `networks` is from; 0 is the start.
    """

    networks: tuple[M, ...]
    history: tuple[EpochRecord, ...]
    status: Status
    epochs_kept: tuple[int, ...]

    @property
    def network(self) -> M:
        """The network of the first trial."""
        return self.networks[0]

    @property
    def kept(self) -> tuple[EpochRecord, ...]:
        """Records of the epochs kept, in the order of `history`; a start has none."""
        # Epoch 0 is the start, before any record.
        return tuple(r for r in self.history if r.epoch == self.epochs_kept[r.trial])

    def __repr__(self) -> str:
        n_epochs = self.history[-1].epoch if self.history else 0
        lines = [f"Fit: {self.status} after epoch {n_epochs}"]
        for record in self.kept:
            error = f"{record.error_name} {record.held_out.error:.4g}"
            split = "validation" if record.validation else "training"
            lines.append(f"  trial {record.trial}: epoch {record.epoch}, {split} {error}")
        return "\n".join(lines)


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a model was trained.  Python ends the program, unless this is caught.

    Attributes:
        fit: the models and the history up to the last epoch that ended.
    """

    def __init__(self, fit: Fit[Any]) -> None:
        super().__init__(fit)
        self.fit = fit

    def __str__(self) -> str:
        epoch = self.fit.history[-1].epoch if self.fit.history else 0
        return f"Training was interrupted after epoch {epoch}; `fit` of this exception holds it."


@dataclass(frozen=True)
class Progress:
    """All that training carries from one epoch to the next.

    Attributes:
        state: models and learners.
        best: the models to keep, with a leading axis of trials: from the best epoch, or
            from the last without early stopping.
        scores: how good each of `best` is on the validation images.
        epochs_kept: the epoch that each of `best` is from.
        worst: the error of a mini-batch above which each trial has diverged.
        history: records of all epochs.
        stopped: whether a callback has asked to end the training.
    """

    state: TrainingState
    best: Any
    scores: Float[np.ndarray, " trials"]
    epochs_kept: tuple[int, ...]
    worst: Float[np.ndarray, " trials"]
    history: tuple[EpochRecord, ...] = ()
    stopped: bool = False

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self.history[-1].epoch if self.history else 0

    @property
    def idle(self) -> int:
        """Epochs since a trial last improved."""
        # All trials share a program, so they go on as long as one of them still improves.
        return self.epoch - max(self.epochs_kept)

    def result(self, status: Status) -> Fit[Any]:
        """The result of `fit` if training ends here."""
        return Fit(tuple(unstack(self.best)), self.history, status, self.epochs_kept)
