"""`Findings`: what a study found, as plain data for the report."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from gncn.study.columns import columns
from gncn.study.compare import Summary
from gncn.study.plan import Study
from gncn.study.record import Record
from gncn.study.verdict import Verdict


@dataclass(frozen=True)
class Cell:
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

    @property
    def is_empty(self) -> bool:
        """Whether neither we nor the paper have a number."""
        return self.ours is None and self.paper is None


@dataclass(frozen=True)
class ModelRow:
    """A model on one data set.

    Attributes:
        key: what the study calls it; `title` is its name in the report.
        kind: ``config.model``.
        n_trials: finished runs.
        cells: by the keys of `gncn.study.columns.columns`.
        curve: BCE after each epoch that all trials reached: mean over trials, deviation.
        first_epoch: BCE after the first.
        sparsity: share of active neurons by layer.
        way: how it completed images best.
        pictures: pictures of its first trial that has some.
        tight: how log p(x) of a few images was bounded, as measured in the first trial that
            bounded it from both sides; empty if none did.
    """

    key: str
    title: str
    kind: str
    n_trials: int
    cells: dict[str, Cell]
    curve: tuple[tuple[float, float], ...]
    first_epoch: Cell
    sparsity: tuple[Summary, ...]
    way: str | None
    pictures: dict[str, Any]
    tight: dict[str, Any]


@dataclass(frozen=True)
class TargetRow:
    """A target: what is wanted, in words; our number and whether that reaches it, None if unknown.

    Attributes:
        tried: what was, where the target isn't reached.
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
        key: what the study calls it; `title` is its name in the report.
        name: the data set's own.
        n_images: by split.
        partial: whether only a part of the data was available.
        published: whether the paper has numbers of these data.
        rows: models in the study's order.
        yardsticks: M-MSE of what needs no model, by the yardstick's name.
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

    @property
    def slug(self) -> str:
        """What names of figures end in."""
        return f"{self.key}-part" if self.partial else self.key

    def verdicts(self) -> Iterable[Verdict]:
        """All verdicts; that on log p(x) once, not again in the paper's convention."""
        twice = "log_likelihood_paper_convention"
        cells = (row.cells[key] for row in self.rows for key in columns() if key != twice)
        return (cell.verdict for cell in cells if cell.verdict is not None)

    @property
    def counts(self) -> Counter[str]:
        """How many results have each verdict."""
        return Counter(verdict.kind for verdict in self.verdicts())

    def columns(self, table: str) -> list[str]:
        """Keys of the columns of a table in which some model has a number, ours or the paper's."""
        keys = [key for key, column in columns().items() if column.table == table]
        return [key for key in keys if self.rows_with([key])]

    def rows_with(self, keys: Sequence[str]) -> list[ModelRow]:
        """Models with a number in one of these columns."""
        return [row for row in self.rows if any(not row.cells[key].is_empty for key in keys)]


@dataclass(frozen=True)
class Findings:
    """What a study found: by data set, and the records of finished and failed runs.

    Attributes:
        n_superseded: number of records that others replaced.
    """

    study: Study
    sections: tuple[DataSection, ...]
    finished: tuple[Record, ...]
    failed: tuple[Record, ...]
    n_superseded: int = 0

    @property
    def n_planned(self) -> int:
        """Runs that the study asks for."""
        return self.study.n_runs


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
        "data": [_section_as_json(section) for section in findings.sections],
    }


def _section_as_json(section: DataSection) -> dict[str, Any]:
    plain = asdict(section)
    models = {}
    for row in section.rows:
        cells = {key: asdict(cell) for key, cell in row.cells.items() if not cell.is_empty}
        models[row.key] = {
            "cells": {k: cell | {"among_best_two": cell.pop("best")} for k, cell in cells.items()},
            "sparsity": [asdict(one) for one in row.sparsity],
            "bce_by_epoch": [mean for mean, _ in row.curve],
        }
    kept = ("name", "partial", "yardsticks", "targets")
    return {name: plain[name] for name in kept} | {"models": models}
