"""The progress bar of a training, and an epoch in one line.  It needs Rich."""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column

from gncn.base.screen import QUIET, Screen, duration, say
from gncn.training.callbacks import Start
from gncn.training.history import EpochRecord

ERRORS = {
    "bce": ("BCE", " nats", 1),
    "squared_error": ("squared error", "", 1),
    "error_percent": ("error", " %", 2),
    "negative_log_likelihood": ("−log p(x)", " nats", 1),
}
"""By `error_name`: what the error is called, its unit, and how many decimals to show."""


class ProgressBar(Progress):
    """A `gncn.Callback` that draws a bar of all epochs.

    Off a terminal it writes a line after each epoch, and every minute within it.
    """

    def __init__(self, console: Screen) -> None:
        whole: dict[str, Any] = {"table_column": Column(no_wrap=True)}
        super().__init__(
            TextColumn("{task.description}", markup=False, **whole),
            BarColumn(bar_width=8),
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
            disable=not console.can_draw,
            expand=True,
        )
        self._bar = TaskID(0)
        self._n_epochs = self._n_batches = self._epoch = self._first = 0
        self._told = 0.0
        self._since: tuple[float, int] | None = None
        self._last = 0.0, 0

    def on_start(self, start: Start) -> None:
        """Start a bar of all mini-batches of the run.  There may be several runs in turn."""
        self._n_epochs, self._n_batches, self._epoch = start.n_epochs, start.n_batches, start.epoch
        self._first = start.epoch + 1
        self._told, self._since = time.monotonic(), None
        self._bar = self.add_task(
            f"epoch {min(start.epoch + 1, start.n_epochs)}/{start.n_epochs}",
            total=start.n_epochs * start.n_batches,
            completed=start.epoch * start.n_batches,
            figures="compiling",
        )

    def on_batch(self, number: int) -> None:
        done = self._epoch * self._n_batches + number + 1
        self.update(self._bar, completed=done)
        # The first news of this run: compiling is over, and what follows tells how fast it is.
        self._last = time.monotonic(), done
        if self._since is None:
            self._since = self._last
            self.update(self._bar, figures="")
        if self.disable and self._last[0] > self._told + QUIET:
            self._tell(f"{(number + 1) / self._n_batches:.0%} of epoch {self._epoch + 1}", done)

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> None:
        self._epoch = records[0].epoch
        done = self._epoch * self._n_batches
        figures, next_epoch = describe(records), min(self._epoch + 1, self._n_epochs)
        self.update(self._bar, description=f"epoch {next_epoch}/{self._n_epochs}", figures=figures)
        if self.disable:
            seconds = f"{records[0].seconds:.1f} s"
            what = f"epoch {self._epoch}/{self._n_epochs}  {figures}  {seconds}"
            first = self._epoch == self._first
            # In the first epoch the programs that measure were compiled, too, so it ended later
            # than others will: its mini-batches tell how fast it is.
            self._tell(what, done, *([self._last] if first else []))
            if first:
                self._since = self._told, done

    def _tell(self, what: str, n_done: int, until: tuple[float, int] | None = None) -> None:
        """Write a line, with the time that is left if any is, as fast as it went `until` then."""
        self._told = time.monotonic()
        n_left = self._n_epochs * self._n_batches - n_done
        now, n_now = until or (self._told, n_done)
        began, n_then = self._since or (now, n_now)
        if n_left > 0 and n_now > n_then:
            what += f", about {duration((now - began) * n_left / (n_now - n_then))} left"
        say(what)


def describe(records: Sequence[EpochRecord]) -> str:
    """An epoch in one line: validation error, ψ and sparsity, averaged over trials.

    They are of training images if there are no validation images.
    """
    seen = [record.held_out for record in records]
    name, _, decimals = ERRORS[records[0].error_name]
    error = np.mean([record.error for record in seen])
    psi = np.mean([record.discrepancy for record in seen])
    shares = np.mean([record.sparsity for record in seen], axis=0)
    sparsity = "/".join(f"{share:.2f}".removeprefix("0") for share in shares)
    active = f"  ρ {sparsity}" if sparsity else ""
    what = "" if records[0].validation else "training "
    return f"{what}{name} {error:.{decimals}f}  ψ {psi:.1f}{active}"
