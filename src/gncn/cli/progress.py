"""The progress bar of `gncn train`: epochs, mini-batches and the numbers of the last epoch."""

from collections.abc import Sequence
from typing import Any

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


class ProgressBar:
    """A `gncn.training.fit.Listener` that draws a bar; off a terminal it writes a line an epoch."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None
        self._n_epochs = self._n_batches = self._epoch = 0

    def __enter__(self) -> "ProgressBar":
        self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._progress.stop()

    def on_start(self, n_epochs: int, n_batches: int) -> None:
        """Start a bar of all mini-batches of the run.  There may be several runs in turn."""
        self._n_epochs, self._n_batches, self._epoch = n_epochs, n_batches, 0
        self._task = self._progress.add_task(
            f"epoch 1/{n_epochs}", total=n_epochs * n_batches, figures="compiling"
        )

    def on_batch(self, number: int) -> None:
        """Move the bar."""
        if self._task is not None:
            self._progress.update(self._task, completed=self._epoch * self._n_batches + number + 1)
            if self._epoch == 0:
                self._progress.update(self._task, figures="")

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        """Show the numbers of the epoch that has ended."""
        self._epoch = records[0].epoch
        figures = describe(records)
        if self._task is not None:
            number = min(self._epoch + 1, self._n_epochs)
            self._progress.update(
                self._task, description=f"epoch {number}/{self._n_epochs}", figures=figures
            )
        if not self._console.is_terminal:
            seconds = f"{records[0].seconds:.1f} s"
            self._console.print(f"epoch {self._epoch}/{self._n_epochs}  {figures}  {seconds}")


ERRORS = {
    "bce": ("BCE", " nats", 1),
    "squared_error": ("squared error", "", 1),
    "error_percent": ("error", " %", 2),
    "negative_log_likelihood": ("−log p(x)", " nats", 1),
}
"""By `error_name`: what the error is called, its unit, and how many decimals to show."""


def describe(records: Sequence[EpochRecord]) -> str:
    """An epoch in one line: validation error, ψ and sparsity, averaged over trials."""
    validation = [record.validation for record in records]
    n = len(validation)
    name, _, decimals = ERRORS[records[0].error_name]
    error = sum(record.error for record in validation) / n
    psi = sum(record.discrepancy for record in validation) / n
    layers = zip(*(record.sparsity for record in validation), strict=True)
    sparsity = "/".join(f"{sum(layer) / n:.2f}".removeprefix("0") for layer in layers)
    active = f"  active {sparsity}" if sparsity else ""
    return f"{name} {error:.{decimals}f}  ψ {psi:.1f}{active}"
