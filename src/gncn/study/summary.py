"""From records to the numbers of the report: cells with our number, the paper's, a verdict.

Numbers are means over finished trials.  Data get no verdicts if only a part was
available, or if the paper doesn't have them.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from gncn.base.errors import RunError
from gncn.data.loaders import PART_SUFFIX
from gncn.study.columns import column_value, columns, published_number
from gncn.study.compare import Summary
from gncn.study.findings import YARDSTICKS, Cell, DataSection, Findings, ModelRow, Tight
from gncn.study.paper import (
    DEVIATIONS,
    FIRST_EPOCH_BCE,
    PUBLISHED,
    SPARSITY,
    Deviation,
    Published,
    published,
)
from gncn.study.plan import Study
from gncn.study.record import Record
from gncn.study.spec import differences
from gncn.study.targets import target_rows
from gncn.study.verdict import judge, judge_as_printed, judge_completion

PAPER_SPLIT = "test"
"""The images that the paper's numbers are of: other images get no verdicts."""


def summarise(study: Study, records: Sequence[Record], *, n_superseded: int = 0) -> Findings:
    """Gather the numbers of a study.

    Args:
        study: says what models and data are called, and the targets.
        records: records of its runs; other records are left out.
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
        targets=target_rows(entry.targets, study.targets_for, rows, supervised),
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
