"""From records to `Findings`, which the report shows: our numbers, the paper's, and verdicts.

Numbers are means over finished trials.  Data get no verdicts if only a part was
available, or if the paper doesn't have them.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from gncn.base.errors import RunError
from gncn.data.loaders import GREY_SUFFIX, PART_SUFFIX
from gncn.study.claims import mark_claims
from gncn.study.judged import Judged, judge_claim
from gncn.study.paired import Pair, paired_differences
from gncn.study.paper import (
    DEVIATIONS,
    FIRST_EPOCH_BCE,
    SPARSITY,
    Published,
    Summary,
    best_of,
    columns,
    is_published,
    judge,
    judge_as_printed,
    judge_completion,
    our_numbers,
    over_trials,
    published,
)
from gncn.study.plan import Study
from gncn.study.record import Record, mark, trusted
from gncn.study.rows import FROM_BOTH, Cell, ModelRow, remark_on, sizes_of
from gncn.study.specs import TRIAL_OPTIONS, differences
from gncn.study.targets import TargetRow, target_rows
from gncn.study.yardsticks import Yardstick, yardsticks_of


@dataclass(frozen=True)
class DataSection:
    """All models on one data set.

    Attributes:
        key: what the study calls it; `title` is its name in the report, `name` the data set's own.
        partial: whether only a part of the data was available.
        published: whether the paper has numbers of these data.
        yardsticks: numbers of what needs no model; features are as many as the codes of the model
            in whose run they were measured.
        all_learned: from which images all models learned, if not from the training part alone.
        paper_sparsity: the GNCN's in the paper.
        targets: the study's targets for the model with the title `targets_for`, and our numbers.
        pairs: log p(x) image by image, of that model and of those that claims name, against each
            other model's.
        claims: what the numbers say of each of the study's claims; None if some are missing.
    """

    key: str
    title: str
    name: str
    n_images: dict[str, int]
    partial: bool
    published: bool
    rows: tuple[ModelRow, ...]
    yardsticks: tuple[Yardstick, ...]
    all_learned: str
    paper_sparsity: tuple[float, ...] | None
    targets: tuple[TargetRow, ...]
    targets_for: str
    pairs: tuple[Pair, ...]
    claims: tuple[Judged | None, ...]

    @property
    def counts(self) -> Counter[str]:
        """How many results have each verdict, log p(x) not again in the paper's convention."""
        twice = "log_likelihood_paper_convention"
        cells = (cell for row in self.rows for key, cell in row.cells.items() if key != twice)
        return Counter(cell.verdict.kind for cell in cells if cell.verdict is not None)

    @property
    def n_marked(self) -> int:
        """How many of these are of models with a mark."""
        return replace(self, rows=tuple(r for r in self.rows if r.mark)).counts.total()

    @property
    def n_judgements(self) -> int:
        """How often trials tell two models of ours apart, or find them level."""
        return sum(one is not None and one.verdict != "not known" for one in self.claims)

    @property
    def targets_mark(self) -> str:
        """The mark of the model that targets are for."""
        return next((row.mark for row in self.rows if row.title == self.targets_for), "")

    @property
    def settings(self) -> list[str]:
        """Names of the settings that tell models from others, which are columns of the tables."""
        return list(dict.fromkeys(name for row in self.rows for name in row.point))

    def columns(self, table: str) -> list[str]:
        """Keys of the columns of a table in which some model has a number, ours or the paper's."""
        keys = [key for key, column in columns().items() if column.table == table]
        return [key for key in keys if self.rows_with([key])]

    @property
    def sizes(self) -> list[str]:
        """Names of the sizes that some model has, which are columns of the first table."""
        return list(dict.fromkeys(name for row in self.rows for name in row.sizes))

    @property
    def pair_columns(self) -> list[str]:
        """Names of the estimates by which some pair was compared."""
        return list(dict.fromkeys(name for one in self.pairs for name in one.differences))

    @property
    def ranked(self) -> bool:
        """Whether some number is among the best two of its column."""
        return any(cell.best for row in self.rows for cell in row.cells.values())

    @property
    def has_loose_pairs(self) -> bool:
        """Whether some pair was compared by an estimate that is not tight."""
        found = (one for pair in self.pairs for one in pair.differences.values())
        return any(one.verdict == "not tight" for one in found)

    def yardsticks_in(self, keys: Sequence[str]) -> list[Yardstick]:
        """Yardsticks with a number in one of these columns."""
        return [one for one in self.yardsticks if one.numbers.keys() & {*keys}]

    def rows_with(self, keys: Sequence[str]) -> list[ModelRow]:
        """Models with a number in one of these columns."""
        return [row for row in self.rows if any(not row.cells[key].is_empty for key in keys)]


@dataclass(frozen=True)
class Findings:
    """The results of a study by data set, with the records of finished and failed runs."""

    study: Study
    sections: tuple[DataSection, ...]
    finished: tuple[Record, ...]
    failed: tuple[Record, ...]
    n_superseded: int = 0


def as_json(findings: Findings) -> dict[str, Any]:
    """The findings as plain values, at full precision."""
    study = findings.study
    claimed = mark_claims(study, (*findings.finished, *findings.failed))
    return {
        "study": study.name,
        "split": study.split,
        "finished": len(findings.finished),
        "failed": [record.name for record in findings.failed],
        "planned": study.n_runs,
        # In the order of each data set's `claims`.
        "claims": [
            {
                "claim": one.claim,
                "model": one.model or study.targets_for,
                "margin": one.margin,
                "mark": mark or None,
            }
            for one, mark in zip(study.claims, claimed.marks, strict=True)
        ],
        "claims_gone": [one.claim for one in claimed.gone],
        "data": [_section_as_json(section) for section in findings.sections],
    }


def _section_as_json(section: DataSection) -> dict[str, Any]:
    plain = asdict(section)
    models = {}
    for row in section.rows:
        cells = {key: asdict(cell) for key, cell in row.cells.items() if not cell.is_empty}
        models[row.key] = {
            "cells": {k: cell | {"among_best_two": cell.pop("best")} for k, cell in cells.items()},
            "sizes": row.sizes,
            "sparsity": [asdict(one) for one in row.sparsity],
            "bce_by_epoch": [mean for mean, _ in row.curve],
            "mark": row.mark or None,
            "learned": row.learned or section.all_learned or None,
        }
    plain |= {"models": models, "paired": plain["pairs"]}
    kept = ("name", "partial", "yardsticks", "targets", "models", "paired", "claims")
    return {name: plain[name] for name in kept}


@trusted()
def summarise(study: Study, records: Sequence[Record], *, n_superseded: int = 0) -> Findings:
    """Gather the numbers of a study.

    Records of other runs than the study's are left out; `n_superseded` records were replaced.

    Raises:
        RunError: runs that belong together saw different images, were measured on
            different splits, or differ in their settings.
        ConfigError: a text of the study leaves open which features it means.
    """
    # Records of models, data or trials that the study no longer asks for.
    ours = [one for one in records if one.trial < study.n_trials(one.model, one.data)]
    finished = tuple(one for one in ours if one.status == "finished")
    failures = tuple(one for one in ours if one.status == "failed")
    sections = []
    for key in study.data:
        here = [record for record in finished if record.data == key]
        # The whole data set and a part of it are two sections.
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
            "`gncn reproduce STUDY --redo-stale` makes them alike."
        )
    first: dict[str, Record] = {}
    for record in records:
        one = first.setdefault(record.model, record)
        if changes := differences(one.spec, record.spec, but_for=TRIAL_OPTIONS):
            raise RunError(
                f"The records {one.name} and {record.name} are of different settings and can't "
                f"be averaged: {'; '.join(changes[:4])}. `gncn reproduce STUDY --redo-stale` makes "
                "them alike."
            )


def _section(study: Study, key: str, name: str, records: Sequence[Record]) -> DataSection:
    yardsticks = yardsticks_of(study, key, records)
    by_model: dict[str, list[Record]] = {model: [] for model in study.models}
    for record in sorted(records, key=lambda record: record.trial):
        by_model[record.model].append(record)
    split = records[0].spec["split"]
    ours = {
        model: our_numbers(((one.kept, one.metrics) for one in same), split)
        for model, same in by_model.items()
        # Models in the study's order, and only those with a finished run.
        if same
    }
    supervised = next((y.numbers["m_mse"] for y in yardsticks if y.name == "supervised"), None)
    floor = supervised.mean if supervised else None
    if floor and any(found["m_mse"].mean < floor for found in ours.values() if "m_mse" in found):
        floor = None  # a yardstick that a model is below bounds nothing
    best = {column: _best_two(column, ours) for column in columns()}
    rows = []
    for model, numbers in ours.items():
        among_best = {column for column, models in best.items() if model in models}
        rows.append(_row(study, name, by_model[model], numbers, floor, among_best))
    told = {row.learned for row in rows}
    if len(told) == 1:  # then it is said of the whole section
        rows = [replace(row, learned="") for row in rows]
    n_images = records[0].dataset["images"]
    claims = (judge_claim(c, study.targets_for, rows, n_images[split]) for c in study.claims)
    return DataSection(
        key=key,
        title=study.title_of(key),
        name=name,
        n_images=n_images,
        partial=name.endswith(PART_SUFFIX),
        published=is_published(name),
        rows=tuple(rows),
        yardsticks=yardsticks,
        all_learned=told.pop() if len(told) == 1 else "",
        paper_sparsity=SPARSITY.get(name),
        targets=target_rows(study.data[key].targets, study.targets_for, rows, supervised),
        targets_for=study.title_of(study.targets_for),
        pairs=_pairs([study.targets_for, *(claim.model for claim in study.claims)], rows),
        claims=tuple(claims),
    )


def _pairs(keys: Iterable[str], rows: Sequence[ModelRow]) -> tuple[Pair, ...]:
    """The models `keys` against all others, each pair once; keys that no row has are left out."""
    by_key = {row.key: row for row in rows}
    found: dict[frozenset[str], Pair] = {}
    for ours in (by_key[key] for key in keys if key in by_key):
        for other in rows:
            n, known = paired_differences(ours.tight, other.tight)
            both = frozenset((ours.key, other.key))
            if known and len(both) == 2 and both not in found:
                found[both] = Pair(ours.title, other.title, n, known, remark_on([ours, other]))
    return tuple(found.values())


def _best_two(key: str, ours: dict[str, dict[str, Summary]]) -> set[str]:
    """The best two models of a column, where there are more than two."""
    means = {model: numbers[key].mean for model, numbers in ours.items() if key in numbers}
    return best_of(columns()[key], means)


def _row(
    study: Study,
    data: str,
    records: Sequence[Record],
    ours: dict[str, Summary],
    floor: float | None,
    best: set[str],
) -> ModelRow:
    model, spec = records[0].model, records[0].spec
    kind, settings = spec["config"]["model"], study.evaluation.settings
    paper = published(data, kind, settings["n_samples"], settings["missing"])
    # The paper's deviations count for the tolerance, so they are looked up as its means are.
    spread = DEVIATIONS.get(data.removesuffix(GREY_SUFFIX), {}).get(kind, Published())
    cells = {key: _cell(key, ours.get(key), paper, spread, floor) for key in columns()}
    # Curves are of BCE; other errors have another unit.
    curves = [getattr(r.history, spec["split"]) for r in records if r.history.error_name == "bce"]
    curves = [curve for curve in curves if curve]
    first, papers_first = over_trials(c[0] for c in curves), FIRST_EPOCH_BCE.get(data, {}).get(kind)
    verdict = judge(first, papers_first, low_is_good=True) if first and papers_first else None
    first_epoch = Cell(first, papers_first, verdict)
    if spec["split"] != "test":  # the paper's numbers are of test images
        cells = {k: replace(one, verdict=None, as_printed=None) for k, one in cells.items()}
        first_epoch = replace(first_epoch, verdict=None)
    layers = zip(*(found for r in records if (found := r.metrics.get("sparsity"))), strict=False)
    sparsity = [over_trials(layer["active"] for layer in trials) for trials in layers]
    ways = [way for r in records if (way := r.metrics.get("completion", {}).get("best_way"))]
    tight = [found for r in records if "simulated_images" in (found := r.metrics.get("tight", {}))]
    return ModelRow(
        key=model,
        title=study.title_of(model),
        name=study.models[model].title or model,
        point=study.models[model].point,
        kind=kind,
        n_trials=len(records),
        cells={key: replace(cell, best=key in best) for key, cell in cells.items()},
        curve=_curve(curves),
        first_epoch=first_epoch,
        sparsity=tuple(one for one in sparsity if one is not None),
        # The way that most trials found best.
        way=max(ways, key=ways.count, default=None),
        pictures=next((record.pictures for record in records if record.pictures), {}),
        tight=next(iter(tight), {}),
        sizes=sizes_of(records[0]),
        mark=mark(records),
        learned=FROM_BOTH if any(one.train_on == "both" for one in records) else "",
    )


def _cell(
    key: str, ours: Summary | None, paper: Published, spread: Published, floor: float | None
) -> Cell:
    column = columns()[key]
    value, deviation = paper.of(column), spread.of(column)
    if ours is None or value is None:
        return Cell(ours, value)
    # M-MSE is judged by the paper's own way of completing.
    if key == "m_mse_paper":
        return Cell(ours, value, judge_completion(ours, value, deviation, floor))
    verdict = judge(ours, value, deviation, low_is_good=column.low_is_good)
    printed = paper.log_likelihood
    # Only log p(x) has a second verdict, against the number as printed.
    if key != "log_likelihood" or printed is None:
        return Cell(ours, value, verdict)
    return Cell(ours, value, verdict, printed, judge_as_printed(ours, printed, deviation))


def _curve(curves: Sequence[Sequence[float]]) -> tuple[tuple[float, float], ...]:
    """Mean and deviation over trials after each epoch that all trials reached."""
    if not curves:
        return ()
    # Only epochs that all trials reached, so each mean is over the same trials.
    epochs = np.array([curve[: min(map(len, curves))] for curve in curves])
    means, spread = epochs.mean(axis=0), epochs.std(axis=0, ddof=1 if len(curves) > 1 else 0)
    return tuple(zip(means.tolist(), spread.tolist(), strict=True))
