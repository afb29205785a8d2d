"""The progress bar of `gncn train`; and what is said of progress where there is no terminal."""

import re
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from gncn.cli.options import duration, say
from gncn.training.history import EpochRecord

QUIET = 60.0
"""Seconds after which a long command says how far it is, where there is no terminal."""

ERRORS = {
    "bce": ("BCE", " nats", 1),
    "squared_error": ("squared error", "", 1),
    "error_percent": ("error", " %", 2),
    "negative_log_likelihood": ("−log p(x)", " nats", 1),
}
"""By `error_name`: what the error is called, its unit, and how many decimals to show."""


class ProgressBar(Progress):
    """A `gncn.training.fit.Listener` that draws a bar of all epochs.

    Off a terminal it writes a line after each epoch, and every minute within it.
    """

    def __init__(self, console: Console) -> None:
        whole: dict[str, Any] = {"table_column": Column(no_wrap=True)}
        super().__init__(
            TextColumn("{task.description}", markup=False, **whole),
            BarColumn(bar_width=12),
            TaskProgressColumn(**whole),
            TimeElapsedColumn(**whole),
            TextColumn("left", **whole),
            TimeRemainingColumn(**whole),
            # The last column is cut where a terminal is too narrow for all of them.
            TextColumn(
                "{task.fields[figures]}",
                markup=False,
                table_column=Column(no_wrap=True, overflow="ellipsis", ratio=1),
            ),
            console=console,
            disable=not console.is_terminal,
            expand=True,
        )
        self._bar = TaskID(0)
        self._n_epochs = self._n_batches = self._epoch = 0
        self._began, self._known = time.monotonic(), 0
        self._told = self._began

    def on_start(self, n_epochs: int, n_batches: int) -> None:
        """Start a bar of all mini-batches of the run.  There may be several runs in turn."""
        self._n_epochs, self._n_batches, self._epoch = n_epochs, n_batches, 0
        self._began, self._known = time.monotonic(), 0
        self._told = self._began
        total = n_epochs * n_batches
        self._bar = self.add_task(f"epoch 1/{n_epochs}", total=total, figures="compiling")

    def on_batch(self, number: int) -> None:
        done = self._epoch * self._n_batches + number + 1
        self.update(self._bar, completed=done)
        if self._epoch == 0:
            self.update(self._bar, figures="")
        if not self.console.is_terminal and time.monotonic() > self._told + QUIET:
            self._tell(f"{(number + 1) / self._n_batches:.0%} of epoch {self._epoch + 1}", done)

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        done_before, self._epoch = self._epoch, records[0].epoch
        if self._epoch > done_before + 1:  # goes on from a checkpoint: the others were not done now
            self._known = (self._epoch - 1) * self._n_batches
        figures, next_epoch = describe(records), min(self._epoch + 1, self._n_epochs)
        self.update(self._bar, description=f"epoch {next_epoch}/{self._n_epochs}", figures=figures)
        if not self.console.is_terminal:
            seconds = f"{records[0].seconds:.1f} s"
            what = f"epoch {self._epoch}/{self._n_epochs}  {figures}  {seconds}"
            self._tell(what, self._epoch * self._n_batches)

    def _tell(self, what: str, n_done: int) -> None:
        """Write a line, with the time that is left if any is."""
        self._told = time.monotonic()
        n_left = self._n_epochs * self._n_batches - n_done
        left = (self._told - self._began) * n_left / max(n_done - self._known, 1)
        if self._epoch == 1:  # in the first epoch programs were compiled: count from here
            self._began, self._known = self._told, n_done
        say(f"{what}, about {duration(left)} left" if n_left > 0 else what)


class Stages:
    """Tells where there is no terminal what a long command is doing, and how long that will take.

    It says when a stage begins, and every minute how far it is.
    """

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._told = 0.0

    def __call__(self, what: str) -> None:
        now, stage = time.monotonic(), what.partition(":")[0]
        if stage not in self._seen:
            self._seen[stage] = self._told = now
            say(stage)
        elif now > self._told + QUIET:
            self._told = now
            say(f"{what}{time_left(what, now - self._seen[stage])}")


def time_left(what: str, seconds: float, n_here: int | None = None) -> str:
    """How much longer it takes, for the end of a line, if the text says such as "3 of 8".

    In so many seconds `n_here` of them were done; by default all that are.
    """
    if (counted := re.search(r"(\d+) of (\d+)", what)) is None:
        return ""
    done, n = map(int, counted.groups())
    if not (known := done if n_here is None else n_here) or done >= n:
        return ""
    return f", about {duration(seconds * (n - done) / known)} left"


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
