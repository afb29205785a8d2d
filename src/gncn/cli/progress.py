"""The progress bar of `gncn train`: epochs, mini-batches and the numbers of the last epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from gncn.training.history import EpochRecord

ERRORS = {
    "bce": ("BCE", " nats", 1),
    "squared_error": ("squared error", "", 1),
    "error_percent": ("error", " %", 2),
    "negative_log_likelihood": ("−log p(x)", " nats", 1),
}
"""By `error_name`: what the error is called, its unit, and how many decimals to show."""


class ProgressBar(Progress):
    """A `gncn.training.fit.Listener` that draws a bar; off a terminal it writes a line an epoch."""

    def __init__(self, console: Console) -> None:
        super().__init__(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}", markup=False),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._bar = TaskID(0)
        self._n_epochs = self._n_batches = self._epoch = 0

    def on_start(self, n_epochs: int, n_batches: int) -> None:
        """Start a bar of all mini-batches of the run.  There may be several runs in turn."""
        self._n_epochs, self._n_batches, self._epoch = n_epochs, n_batches, 0
        total = n_epochs * n_batches
        self._bar = self.add_task(f"epoch 1/{n_epochs}", total=total, figures="compiling")

    def on_batch(self, number: int) -> None:
        self.update(self._bar, completed=self._epoch * self._n_batches + number + 1)
        if self._epoch == 0:
            self.update(self._bar, figures="")

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        self._epoch = records[0].epoch
        figures, next_epoch = describe(records), min(self._epoch + 1, self._n_epochs)
        self.update(self._bar, description=f"epoch {next_epoch}/{self._n_epochs}", figures=figures)
        if not self.console.is_terminal:
            seconds = f"{records[0].seconds:.1f} s"
            self.console.print(f"epoch {self._epoch}/{self._n_epochs}  {figures}  {seconds}")


def describe(records: Sequence[EpochRecord]) -> str:
    """An epoch in one line: validation error, ψ and sparsity, averaged over trials."""
    validation = [record.validation for record in records]
    name, _, decimals = ERRORS[records[0].error_name]
    error = np.mean([record.error for record in validation])
    psi = np.mean([record.discrepancy for record in validation])
    shares = np.mean([record.sparsity for record in validation], axis=0)
    sparsity = "/".join(f"{share:.2f}".removeprefix("0") for share in shares)
    active = f"  active {sparsity}" if sparsity else ""
    return f"{name} {error:.{decimals}f}  ψ {psi:.1f}{active}"
