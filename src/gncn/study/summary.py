"""From records to the numbers of the report: cells with our number, the paper's, a verdict.

Numbers are means over finished trials.  Data get no verdicts if only a part was
available, or if the paper doesn't have them.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from gncn.base.errors import RunError
from gncn.data.loaders import PART_SUFFIX
from gncn.study.columns import best_of, column_value, columns, published_number
from gncn.study.compare import Summary, over_trials
from gncn.study.findings import Cell, DataSection, Findings, ModelRow, TargetRow, number
from gncn.study.paper import DEVIATIONS, FIRST_EPOCH_BCE, PUBLISHED, SPARSITY, Published, published
from gncn.study.plan import Study, Targets
from gncn.study.record import Record
from gncn.study.spec import differences
from gncn.study.verdict import judge, judge_as_printed, judge_completion

PAPER_SPLIT = "test"
"""The images that the paper's numbers are of: other images get no verdicts."""

TRIAL_OPTIONS = ("trial", "config.seed", "evaluation.measures", "evaluation.first_trial_only")
"""In what trials of a model on one data set may differ and still be averaged."""

AIMS = {"log_likelihood": "log p(x) honest, better prior", "m_mse": "M-MSE"}


def summarise(study: Study, records: Sequence[Record], *, n_superseded: int = 0) -> Findings:
    """Gather the numbers of a study.

    Records of other runs than the study's are left out; `n_superseded` records were replaced.

    Raises:
        RunError: runs that belong together saw different images, were measured on
            different splits, or differ in their settings.
    """
    ours = [one for one in records if one.trial < study.n_trials(one.model, one.data)]
    finished = tuple(one for one in ours if one.status == "finished")
    failures = tuple(one for one in ours if one.status == "failed")
    sections = []
    for key in study.data:
        here = [record for record in finished if record.data == key]
        for name in sorted({record.dataset["name"] for record in here}):
            same = [record for record in here if record.dataset["name"] == name]
            _refuse_mixed(key, same)
            sections.append(_section(study, key, name, same))
    return Findings(study, tuple(sections), finished, failures, n_superseded)


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
    of_data = [record.metrics.get("yardsticks", {}).get("m_mse", {}) for record in records]
    yardsticks = {
        yardstick: found
        for yardstick in ("supervised", "nearest_neighbours", "mean_image")
        if (found := over_trials(one.get(yardstick, {}).get("m_mse") for one in of_data))
    }
    supervised = yardsticks.get("supervised")
    by_model = {
        model: same
        for model in study.models
        if (same := [record for record in records if record.model == model])
    }
    ours = {model: _numbers(same) for model, same in by_model.items()}
    errors = [numbers["m_mse"].mean for numbers in ours.values() if "m_mse" in numbers]
    floor = supervised.mean if supervised else None
    if floor is not None and min(errors, default=floor) < floor:
        floor = None  # a yardstick that a model is below bounds nothing
    best = {column: _best(column, ours) for column in columns()}
    rows = [
        _row(study, model, name, same, ours[model], floor, best) for model, same in by_model.items()
    ]
    return DataSection(
        key=key,
        title=study.title_of(key),
        name=name,
        n_images=records[0].dataset["images"],
        partial=name.endswith(PART_SUFFIX),
        published=name in PUBLISHED,
        rows=tuple(rows),
        yardsticks=yardsticks,
        paper_sparsity=SPARSITY.get(name),
        targets=_target_rows(study.data[key].targets, study.targets_for, rows, supervised),
        targets_for=study.title_of(study.targets_for),
    )


def _numbers(records: Sequence[Record]) -> dict[str, Summary]:
    """Our numbers, by column, over the trials of a model."""
    found = {
        key: over_trials(column_value(column, r.kept, r.metrics, r.spec["split"]) for r in records)
        for key, column in columns().items()
    }
    return {key: one for key, one in found.items() if one is not None}


def _best(key: str, ours: dict[str, dict[str, Summary]], n: int = 2) -> set[str]:
    """The best `n` models of a column, where there are more than `n`."""
    means = {model: numbers[key].mean for model, numbers in ours.items() if key in numbers}
    return best_of(columns()[key], means, n) if len(means) > n else set()


def _row(
    study: Study,
    model: str,
    data: str,
    records: Sequence[Record],
    ours: dict[str, Summary],
    floor: float | None,
    best: dict[str, set[str]],
) -> ModelRow:
    config, split = records[0].spec["config"], records[0].spec["split"]
    kind, settings = config["model"], study.evaluation.settings
    paper = published(data, kind, settings["n_samples"], settings["missing"])
    spread = DEVIATIONS.get(data, {}).get(kind, Published())
    cells = {
        key: replace(_cell(key, ours.get(key), paper, spread, floor), best=model in best[key])
        for key in columns()
    }
    curves = [getattr(r.history, split) for r in records if r.history.error_name == "bce"]
    curves = [curve for curve in curves if curve]
    first = over_trials(curve[0] for curve in curves)
    papers_first = FIRST_EPOCH_BCE.get(data, {}).get(kind)
    first_epoch = Cell(first, papers_first)
    if first is not None and papers_first is not None:
        first_epoch = replace(first_epoch, verdict=judge(first, papers_first, low_is_good=True))
    if split != PAPER_SPLIT:
        cells = {k: replace(one, verdict=None, as_printed=None) for k, one in cells.items()}
        first_epoch = replace(first_epoch, verdict=None)
    layers = [one for record in records if (one := record.metrics.get("sparsity"))]
    by_layer = zip(*layers, strict=False)
    sparsity = [over_trials(layer["active"] for layer in trials) for trials in by_layer]
    ways = [r.metrics.get("completion", {}).get("best_way") for r in records]
    ways = [way for way in ways if way]
    by_trial = sorted(records, key=lambda record: record.trial)
    tight = [one for r in by_trial if "simulated_images" in (one := r.metrics.get("tight", {}))]
    return ModelRow(
        key=model,
        title=study.title_of(model),
        kind=kind,
        n_trials=len(records),
        cells=cells,
        curve=_curve(curves),
        first_epoch=first_epoch,
        sparsity=tuple(one for one in sparsity if one is not None),
        way=max(ways, key=ways.count) if ways else None,
        pictures=next((record.pictures for record in by_trial if record.pictures), {}),
        tight=tight[0] if tight else {},
    )


def _cell(
    key: str, ours: Summary | None, paper: Published, spread: Published, floor: float | None
) -> Cell:
    column = columns()[key]
    value = published_number(column, paper)
    if ours is None or value is None:
        return Cell(ours, value)
    if key == "m_mse":
        return Cell(ours, value, judge_completion(ours, value, spread.m_mse, floor))
    of_density = key.startswith("log_likelihood")
    deviation = spread.log_likelihood if of_density else published_number(column, spread)
    verdict = judge(ours, value, deviation, low_is_good=column.low_is_good)
    printed = paper.log_likelihood
    if key != "log_likelihood" or printed is None:
        return Cell(ours, value, verdict)
    return Cell(ours, value, verdict, printed, judge_as_printed(ours, printed, deviation))


def _curve(curves: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    """Mean and deviation over trials after each epoch that all trials reached."""
    if not curves:
        return ()
    epochs = np.array([curve[: min(map(len, curves))] for curve in curves])
    means, spread = epochs.mean(axis=0), epochs.std(axis=0, ddof=1 if len(curves) > 1 else 0)
    return tuple(zip(means.tolist(), spread.tolist(), strict=True))


def _target_rows(
    targets: Targets | None, model: str, rows: Sequence[ModelRow], supervised: Summary | None
) -> tuple[TargetRow, ...]:
    """The targets for a model on a data set, each with our number and whether it is reached.

    `rows` are all models on the data set; `supervised` is the M-MSE of the supervised yardstick.
    """
    if targets is None:
        return ()
    row = next((row for row in rows if row.key == model), None)
    ours = {key: _aimed_at(key, row) for key in (*columns(), "top_sparsity")}
    error = ours["m_mse"]
    ours["m_mse_over_supervised"] = error and supervised and _scaled(error, 1 / supervised.mean)
    if row and row.sparsity:
        ours["top_sparsity"] = row.sparsity[-1]
    found = []
    for key, what, bound in (
        ("bce", "BCE, nats", "≤"),
        ("log_likelihood", AIMS["log_likelihood"], "≥"),
        ("error_percent", "probe error, %", "≤"),
        ("m_mse_over_supervised", "M-MSE ÷ supervised", "≤"),
        ("top_sparsity", "active in the top layer", "≤"),
    ):
        wanted, our = getattr(targets, key), ours[key]
        if wanted is not None:
            sign = 1 if bound == "≤" else -1
            reached = None if our is None else sign * our.mean <= sign * wanted
            tried = targets.tried.get(key, "")
            found.append(TargetRow(what, f"{bound} {number(wanted)}", our, reached, tried))
    for key in targets.best:
        reached = _is_best(key, model, rows) if ours[key] else None
        what, tried = (
            f"{AIMS[key]}: best of the neural models",
            targets.tried.get(f"best_{key}", ""),
        )
        found.append(TargetRow(what, "best", ours[key], reached, tried))
    return tuple(found)


def _scaled(summary: Summary, factor: float) -> Summary:
    deviation = None if summary.deviation is None else factor * summary.deviation
    return Summary(factor * summary.mean, deviation, summary.n_trials)


def _aimed_at(key: str, row: ModelRow | None) -> Summary | None:
    """The number that a target is about: of log p(x), with the better of two priors of codes."""
    keys = (key, "log_likelihood_training_codes") if key == "log_likelihood" else (key,)
    cells = [row.cells[one] for one in keys if one in row.cells] if row else []
    known = [cell.ours for cell in cells if cell.ours is not None]
    return max(known, key=lambda found: found.mean, default=None)


def _is_best(key: str, model: str, rows: Sequence[ModelRow]) -> bool | None:
    """Whether a model is the best that learns synapses; None without another to compare."""
    neural = {row.key: _aimed_at(key, row) for row in rows if row.kind != "gmm"}
    means = {name: found.mean for name, found in neural.items() if found is not None}
    return model in best_of(columns()[key], means, 1) if len(means) > 1 else None
