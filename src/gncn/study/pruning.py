"""Listeners of a search: they tell of every epoch, and one gives up on trials that fall behind."""

from collections.abc import Callable, Sequence
from typing import Any

import optuna
from optuna.trial import Trial

from gncn.study.objective import shortfall
from gncn.training.history import EpochRecord

Report = Callable[[str], None]
_TENTHS = 10


class Watch:
    """Tells of every epoch."""

    def __init__(self, name: str, n_epochs: int, report: Report) -> None:
        self._name, self._n_epochs, self._report = name, n_epochs, report

    def on_start(self, n_epochs: int, n_batches: int) -> None:
        """Nothing to note."""

    def on_batch(self, number: int) -> None:
        """Nothing to note."""

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        """Tell of it."""
        record = records[0]
        self._report(
            f"{self._name}, epoch {record.epoch} of {self._n_epochs}: validation "
            f"{record.error_name} {record.validation.error:.2f}"
        )


class Pruning(Watch):
    """Tells of every epoch, reports the shortfall so far after each tenth, and prunes."""

    def __init__(
        self, trial: Trial, wanted: dict[str, float], n_epochs: int, report: Report
    ) -> None:
        super().__init__(f"trial {trial.number}", n_epochs, report)
        self._trial, self._wanted, self._tenths = trial, wanted, 0

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        """Tell, report, and give up if others were better."""
        super().on_epoch(records, networks)
        name, tenths = records[0].error_name, _TENTHS * records[0].epoch // self._n_epochs
        if name not in self._wanted or tenths == self._tenths or tenths == _TENTHS:
            return
        self._tenths = tenths
        error = records[0].validation.error
        self._trial.report(shortfall(name, error, self._wanted[name]), tenths)
        if self._trial.should_prune():
            raise optuna.TrialPruned
