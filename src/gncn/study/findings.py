"""`Findings`: what a study found, as plain data for the report."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from gncn.study.columns import columns
from gncn.study.compare import Summary
from gncn.study.plan import Study
from gncn.study.record import Record
from gncn.study.verdict import Verdict

LOOSE = 1.0
"""Nats between two bounds from which on an estimate isn't tight."""
YARDSTICKS = {
    "supervised": "a network trained by backprop for this half alone",
    "nearest_neighbours": "nearest neighbours",
    "mean_image": "the mean image",
}


class Cell(NamedTuple):
    """A number of the report.

    Attributes:
        ours: our number, over trials; None if not measured.
        paper: the paper's number to compare with.
        verdict: the verdict on it.
        printed: the paper's log p(x) as printed; `paper` is then the honest one.
        as_printed: the verdict on that.
        best: whether ours is among the best two of the study.
    """

    ours: Summary | None = None
    paper: float | None = None
    verdict: Verdict | None = None
    printed: float | None = None
    as_printed: Verdict | None = None
    best: bool = False


class Tight(NamedTuple):
    """An annealed estimate of log p(x), and what it is worth.

    Attributes:
        n_images: number of images.
        standard_error: standard error over the images, in nats.
        gap: between bounds from below and above, on images that the model simulated, in nats.
    """

    n_images: int
    standard_error: float
    gap: float


@dataclass(frozen=True)
class ModelRow:
    """A model on one data set.

    Attributes:
        key: what the study calls it.
        title: its name in the report.
        kind: ``config.model``.
        n_trials: finished runs.
        n_synapses: all that it learns.
        cells: by the keys of `gncn.study.columns.columns`.
        curve: BCE after each epoch that all trials reached: mean over trials, deviation.
        first_epoch: BCE after the first.
        sparsity: share of active neurons by layer.
        way: how it completed images best.
        pictures: pictures of its first trial that has some.
        tight: how log p(x) of a few images was bounded, of the first trial that has it.
    """

    key: str
    title: str
    kind: str
    n_trials: int
    n_synapses: int | None
    cells: dict[str, Cell]
    curve: tuple[tuple[float, float], ...]
    first_epoch: Cell
    sparsity: tuple[Summary, ...]
    way: str | None
    pictures: dict[str, Any]
    tight: Tight | None


class TargetRow(NamedTuple):
    """A target.

    Attributes:
        what: in words.
        wanted: in words.
        ours: our number, over trials; None if not measured.
        reached: None if it is unknown.
        tried: what was, where it isn't reached.
    """

    what: str
    wanted: str
    ours: Summary | None
    reached: bool | None
    tried: str


@dataclass(frozen=True)
class DataSection:
    """All models on one data set.

    Attributes:
        key: what the study calls it.
        title: its name in the report.
        name: the data set's own.
        n_images: by split.
        partial: whether only a part of the data was available.
        published: whether the paper has numbers of these data.
        rows: models in the study's order.
        yardsticks: M-MSE of what needs no model, by the keys of `YARDSTICKS`.
        paper_sparsity: the GNCN's in the paper.
        targets: the study's targets, and our numbers.
        targets_for: title of the model that they are for.
    """

    key: str
    title: str
    name: str
    n_images: dict[str, int]
    partial: bool
    published: bool
    rows: tuple[ModelRow, ...]
    yardsticks: dict[str, Summary]
    paper_sparsity: tuple[float, ...] | None
    targets: tuple[TargetRow, ...]
    targets_for: str

    def verdicts(self) -> Iterable[Verdict]:
        """All verdicts; that on log p(x) once, not again in the paper's convention."""
        twice = "log_likelihood_paper_convention"
        cells = (row.cells[key] for row in self.rows for key in columns() if key != twice)
        return (cell.verdict for cell in cells if cell.verdict is not None)


@dataclass(frozen=True)
class Findings:
    """What a study found.

    Attributes:
        study: the study.
        sections: by data set.
        finished: records of finished runs.
        failed: records of failed runs.
        n_planned: runs that the study asks for.
        n_superseded: records that others replaced.
    """

    study: Study
    sections: tuple[DataSection, ...]
    finished: tuple[Record, ...]
    failed: tuple[Record, ...]
    n_planned: int
    n_superseded: int = 0


def number(value: float, decimals: int = 2) -> str:
    """A number with a true minus sign."""
    rounded = round(value, decimals) + 0.0  # no −0
    return f"{rounded:.{decimals}f}".replace("-", "−")


def with_spread(summary: Summary, decimals: int = 2) -> str:
    """Mean ± standard deviation over trials."""
    mean = number(summary.mean, decimals)
    spread = summary.deviation
    return mean if spread is None else f"{mean} ± {number(spread, decimals)}"


def as_json(findings: Findings) -> dict[str, Any]:
    """The findings as plain values, at full precision."""
    return {
        "study": findings.study.name,
        "split": findings.study.split,
        "finished": len(findings.finished),
        "failed": [record.name for record in findings.failed],
        "planned": findings.n_planned,
        "data": [
            {
                "name": section.name,
                "partial": section.partial,
                "yardsticks": {k: v._asdict() for k, v in section.yardsticks.items()},
                "targets": [
                    row._asdict() | {"ours": row.ours and row.ours._asdict()}
                    for row in section.targets
                ],
                "models": {
                    row.key: {
                        "cells": {k: _plain(c) for k, c in row.cells.items() if c.ours or c.paper},
                        "sparsity": [one._asdict() for one in row.sparsity],
                        "bce_by_epoch": [mean for mean, _ in row.curve],
                    }
                    for row in section.rows
                },
            }
            for section in findings.sections
        ],
    }


def _plain(cell: Cell) -> dict[str, Any]:
    return {
        "ours": cell.ours and cell.ours._asdict(),
        "paper": cell.paper,
        "verdict": cell.verdict and cell.verdict._asdict(),
        "printed": cell.printed,
        "as_printed": cell.as_printed and cell.as_printed._asdict(),
        "among_best_two": cell.best,
    }
