"""From records to the numbers of the report: cells with our number, the paper's, a verdict.

Numbers are means over finished trials.  Data of which only a part was at hand, or that
the paper doesn't have, get no verdicts.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gncn.base.errors import RunError
from gncn.data.loaders import PART_SUFFIX
from gncn.study.columns import column_value, columns, published_number
from gncn.study.compare import Summary
from gncn.study.paper import (
    DEVIATIONS,
    FIRST_EPOCH_BCE,
    PUBLISHED,
    SPARSITY,
    Deviation,
    Published,
    published,
)
from gncn.study.plan import Study, Targets, differences
from gncn.study.record import Record
from gncn.study.verdict import Verdict, judge, judge_as_printed, judge_completion

AIMS = {"log_likelihood": "log p(x) honest, better prior", "m_mse": "M-MSE"}
BY_FITTED_CODES = ("log_likelihood", "log_likelihood_training_codes")
"""Honest log p(x) with a prior made of codes: a target may be reached by either."""
PAPER_SPLIT = "test"
"""The images that the paper's numbers are of: other images get no verdicts."""
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
        ours: over trials; None if not measured.
        paper: the paper's number to compare with.
        verdict: on it.
        printed: the paper's log p(x) as printed, beside an honest one.
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
        n_images: of how many images it is.
        standard_error: over these, in nats.
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
        title: for people.
        kind: ``config.model``.
        n_trials: finished runs.
        n_synapses: all that it learns.
        cells: by the keys of `gncn.study.columns.columns`.
        curve: BCE after each epoch that all trials reached: mean over trials, deviation.
        first_epoch: BCE after the first.
        sparsity: share of active neurons by layer.
        way: how it completed images best.
        pictures: of its first trial that has some.
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
        ours: over trials; None if not measured.
        reached: None if that can't be told.
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
        title: for people.
        name: the data set's own.
        n_images: by split.
        partial: whether only a part of the data was at hand.
        published: whether the paper has numbers of these data.
        rows: models in the study's order.
        yardsticks: M-MSE of what needs no model, by the keys of `YARDSTICKS`.
        paper_sparsity: the GNCN's in the paper.
        targets: of the study.
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


def summarise(study: Study, records: Sequence[Record], *, n_superseded: int = 0) -> Findings:
    """Gather the numbers of a study.

    Args:
        study: says what models and data are called, and the targets.
        records: of its runs; those of runs that it doesn't ask for are left out.
        n_superseded: records that were replaced.

    Raises:
        RunError: runs that belong together saw different images, were measured on
            different splits, or differ in their settings.
    """
    ours = [one for one in records if one.trial < study.n_trials(one.model, one.data)]
    finished = [one for one in ours if one.status == "finished"]
    sections = []
    for key in study.data:
        here = [record for record in finished if record.data == key]
        for name in sorted({record.dataset["name"] for record in here}):
            same = [record for record in here if record.dataset["name"] == name]
            _refuse_mixed(key, same)
            sections.append(_section(study, key, name, same))
    failures = tuple(one for one in ours if one.status == "failed")
    return Findings(study, tuple(sections), tuple(finished), failures, study.n_runs, n_superseded)


TRIAL_OPTIONS = (
    "trial",
    "config.seed",
    "evaluation.measures",
    "evaluation.first_trial_only",
)
"""In what trials of a model on one data set may differ and still be averaged."""


def _refuse_mixed(key: str, records: Sequence[Record]) -> None:
    seen = {(record.dataset["fingerprint"], record.spec["split"]) for record in records}
    if len(seen) > 1:
        told = ", ".join(f"{split} images of {fingerprint}" for fingerprint, split in sorted(seen))
        raise RunError(
            f"The records of {key!r} are of different images and can't be averaged: {told}. "
            "`gncn reproduce --redo-stale` makes them alike."
        )
    first: dict[str, Record] = {}
    for record in records:
        one = first.setdefault(record.model, record)
        if changes := differences(one.spec, record.spec, but_for=TRIAL_OPTIONS):
            raise RunError(
                f"The records {one.name} and {record.name} are of different settings and can't "
                f"be averaged: {'; '.join(changes[:4])}. `gncn reproduce --redo-stale` makes "
                "them alike."
            )


def _section(study: Study, key: str, name: str, records: Sequence[Record]) -> DataSection:
    yardsticks = {}
    for yardstick in YARDSTICKS:
        path = ("yardsticks", "m_mse", yardstick, "m_mse")
        if found := _over(records, lambda r, path=path: _dig(r.metrics, *path)):
            yardsticks[yardstick] = found
    by_model = {
        model: same
        for model in study.models
        if (same := [record for record in records if record.model == model])
    }
    supervised = yardsticks.get("supervised")
    floor = _floor(supervised, by_model.values())
    rows = [_row(study, model, name, same, floor) for model, same in by_model.items()]
    entry = study.data[key]
    return DataSection(
        key=key,
        title=study.title_of(key),
        name=name,
        n_images=records[0].dataset["images"],
        partial=name.endswith(PART_SUFFIX),
        published=name in PUBLISHED,
        rows=_with_best(rows),
        yardsticks=yardsticks,
        paper_sparsity=SPARSITY.get(name),
        targets=_targets(entry.targets, study.targets_for, rows, supervised),
        targets_for=study.title_of(study.targets_for),
    )


def _floor(supervised: Summary | None, models: Iterable[Sequence[Record]]) -> Summary | None:
    """The supervised yardstick of M-MSE, unless a model is below it: then it bounds nothing."""
    found = [_column("m_mse", records) for records in models]
    beaten = supervised and any(one and one.mean < supervised.mean for one in found)
    return None if beaten else supervised


def _column(key: str, records: Sequence[Record]) -> Summary | None:
    """Our number of a column, over the trials of a model."""
    column = columns()[key]
    return _over(records, lambda r: column_value(column, r.kept, r.metrics, r.spec["split"]))


def _row(
    study: Study, model: str, data: str, records: Sequence[Record], floor: Summary | None
) -> ModelRow:
    kind = records[0].spec["config"]["model"]
    settings = study.evaluation.settings
    paper = published(data, kind, settings["n_samples"], settings["missing"])
    spread = DEVIATIONS.get(data, {}).get(kind, Deviation())
    split = records[0].spec["split"]
    cells = {key: _cell(key, _column(key, records), paper, spread, floor) for key in columns()}
    if split != PAPER_SPLIT:
        cells = {k: c._replace(verdict=None, as_printed=None) for k, c in cells.items()}
    first = _over(records, lambda r: next(iter(_bce(r, split)), None))
    published_first = FIRST_EPOCH_BCE.get(data, {}).get(kind)
    verdict = None
    if first is not None and published_first is not None and split == PAPER_SPLIT:
        verdict = judge(first, published_first, low_is_good=True)
    layers = [record.metrics.get("sparsity", []) for record in records]
    depth = min((len(one) for one in layers if one), default=0)
    sparsity = [
        _over([x for x in layers if x], lambda x, i=i: x[i]["active"]) for i in range(depth)
    ]
    ways = [way for record in records if (way := _dig(record.metrics, "completion", "best_way"))]
    by_trial = sorted(records, key=lambda record: record.trial)
    return ModelRow(
        key=model,
        title=study.title_of(model),
        kind=kind,
        n_trials=len(records),
        n_synapses=records[0].n_synapses,
        cells=cells,
        curve=_curve(records, split),
        first_epoch=Cell(first, published_first, verdict),
        sparsity=tuple(one for one in sparsity if one is not None),
        way=max(ways, key=ways.count) if ways else None,
        pictures=next((record.pictures for record in by_trial if record.pictures), {}),
        tight=next((one for record in by_trial if (one := _tight(record)) is not None), None),
    )


def _tight(record: Record) -> Tight | None:
    found = record.metrics.get("tight", {})
    if "simulated_images" not in found:
        return None
    return Tight(found["n_images"], found["standard_error"], found["simulated_images"]["gap"])


def _cell(
    key: str, ours: Summary | None, paper: Published, spread: Deviation, floor: Summary | None
) -> Cell:
    column = columns()[key]
    value = published_number(column, paper)
    if ours is None or value is None:
        return Cell(ours, value)
    if key == "m_mse":
        verdict = judge_completion(ours, value, spread.m_mse, floor.mean if floor else None)
        return Cell(ours, value, verdict)
    deviation = {"bce": spread.bce, "error_percent": spread.error_percent}.get(
        key, spread.log_likelihood
    )
    verdict = judge(ours, value, deviation, low_is_good=column.low_is_good)
    if key != "log_likelihood" or paper.log_likelihood is None:
        return Cell(ours, value, verdict)
    printed = paper.log_likelihood
    return Cell(ours, value, verdict, printed, judge_as_printed(ours, printed, deviation))


def _with_best(rows: Sequence[ModelRow], n: int = 2) -> tuple[ModelRow, ...]:
    """Mark the best `n` of each column, where there are more than `n`."""
    for key, column in columns().items():
        if not column.ranked:
            continue
        known = [(c.ours.mean, row.key) for row in rows if (c := row.cells[key]).ours is not None]
        ranked = sorted(known, reverse=not column.low_is_good)
        best = {model for _, model in ranked[:n]} if len(known) > n else set()
        for row in rows:
            if row.key in best:
                row.cells[key] = row.cells[key]._replace(best=True)
    return tuple(rows)


def _targets(
    targets: Targets | None, model: str, rows: Sequence[ModelRow], supervised: Summary | None
) -> tuple[TargetRow, ...]:
    if targets is None:
        return ()
    row = next((row for row in rows if row.key == model), None)
    cell = (lambda key: _aimed_at(key, row)) if row else (lambda key: None)
    error = cell("m_mse")
    ratio = None if error is None or supervised is None else _scaled(error, 1 / supervised.mean)
    top = row.sparsity[-1] if row and row.sparsity else None
    plain = (
        ("bce", "BCE, nats", cell("bce"), True),
        ("log_likelihood", AIMS["log_likelihood"], cell("log_likelihood"), False),
        ("error_percent", "probe error, %", cell("error_percent"), True),
        ("m_mse_over_supervised", "M-MSE ÷ supervised", ratio, True),
        ("top_sparsity", "active in the top layer", top, True),
    )
    found = []
    for key, what, ours, low_is_good in plain:
        wanted = getattr(targets, key)
        if wanted is None:
            continue
        sign = 1 if low_is_good else -1
        reached = None if ours is None else sign * ours.mean <= sign * wanted
        text = f"{'≤' if low_is_good else '≥'} {number(wanted)}"
        found.append(TargetRow(what, text, ours, reached, targets.tried.get(key, "")))
    for key in targets.best:
        ours = cell(key)
        found.append(
            TargetRow(
                f"{AIMS[key]}: best of the neural models",
                "best",
                ours,
                _is_best(key, model, rows) if ours else None,
                targets.tried.get(f"best_{key}", ""),
            )
        )
    return tuple(found)


def _scaled(summary: Summary, factor: float) -> Summary:
    deviation = None if summary.deviation is None else factor * summary.deviation
    return Summary(factor * summary.mean, deviation, summary.n_trials)


def _aimed_at(key: str, row: ModelRow) -> Summary | None:
    """The number that a target is about: of log p(x), with the better of two priors."""
    keys = BY_FITTED_CODES if key == "log_likelihood" else (key,)
    known = [found for one in keys if (found := row.cells[one].ours) is not None]
    return max(known, key=lambda found: found.mean, default=None)


def _is_best(key: str, model: str, rows: Sequence[ModelRow]) -> bool | None:
    """Whether a model is the best that learns synapses; None without another to compare."""
    low = columns()[key].low_is_good
    means = {
        row.key: (1 if low else -1) * found.mean
        for row in rows
        if row.kind != "gmm" and (found := _aimed_at(key, row)) is not None
    }
    return min(means, key=means.__getitem__) == model if len(means) > 1 else None


def _over(things: Sequence[Any], find: Callable[[Any], float | None]) -> Summary | None:
    """Mean and deviation of what is found; None if nothing is."""
    known = np.array([value for one in things if (value := find(one)) is not None], float)
    if not len(known):
        return None
    deviation = float(known.std(ddof=1)) if len(known) > 1 else None
    return Summary(float(known.mean()), deviation, len(known))


def _dig(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _bce(record: Record, split: str) -> list[float]:
    """BCE after each epoch; empty for a model that has none."""
    return list(getattr(record.history, split)) if record.history.error_name == "bce" else []


def _curve(records: Sequence[Record], split: str) -> tuple[tuple[float, float], ...]:
    curves = [curve for record in records if (curve := _bce(record, split))]
    if not curves:
        return ()
    epochs = np.array([curve[: min(map(len, curves))] for curve in curves])
    means, spread = epochs.mean(axis=0), epochs.std(axis=0, ddof=1 if len(curves) > 1 else 0)
    return tuple(zip(means.tolist(), spread.tolist(), strict=True))


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
