"""Comparing runs: one table of models, with means over trials and the paper's numbers.

Errors and BCE come from each run's history, at the epochs kept; everything else from the
``metrics-SPLIT*.json`` that ``gncn evaluate`` wrote, one file for each trial evaluated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from gncn.base.errors import ConfigError, RunError
from gncn.base.files import read_json
from gncn.measures import MEASURES, Column
from gncn.runs.folder import RunFolder
from gncn.study.columns import column_value, columns, published_number
from gncn.study.paper import published
from gncn.training.history import EpochRecord

SPLITS = ("validation", "test")


class Summary(NamedTuple):
    """A number over trials.

    Attributes:
        mean: mean over the trials that have the number.
        deviation: standard deviation over them; None for one.
        n_trials: number of these trials.
    """

    mean: float
    deviation: float | None
    n_trials: int


@dataclass(frozen=True)
class Row:
    """One run.

    Attributes:
        run: its folder.
        model: its model's name.
        n_synapses: all that the model learns, if it has synapses.
        values: our numbers, by the keys of `gncn.study.columns.columns`; only what was measured.
        published: the paper's, by the same keys.
        curves: mean BCE over trials after each epoch; empty for models without.
    """

    run: Path
    model: str
    n_synapses: int | None
    values: dict[str, Summary]
    published: dict[str, float]
    curves: tuple[float, ...]


@dataclass(frozen=True)
class Comparison:
    """Several runs on the same images.

    Attributes:
        data: name of the data set.
        fingerprint: fingerprint of its arrays.
        split: the images that numbers are of.
        rows: one for each run, as given.
    """

    data: str
    fingerprint: str
    split: str
    rows: tuple[Row, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Keys of the columns for which some run or the paper has a number."""
        return tuple(
            key
            for key in columns()
            if any(key in row.values or key in row.published for row in self.rows)
        )

    def best(self, key: str, n: int = 2) -> set[Path]:
        """The runs with the `n` best of our numbers in a column; none if it ranks nobody."""
        column = columns()[key]
        if not column.ranked:
            return set()
        known = [(row.values[key].mean, row.run) for row in self.rows if key in row.values]
        ranked = sorted(known, reverse=not column.low_is_good)
        return {run for _, run in ranked[:n]}


def compare(runs: Sequence[str | Path], *, split: str = "test") -> Comparison:
    """Gather the numbers of several runs.

    Args:
        runs: run folders.
        split: ``validation`` or ``test``.

    Returns:
        The comparison.

    Raises:
        ConfigError: the split is unknown, or runs are given twice.
        RunError: a folder holds no run, or the runs saw different images or splits, or were
            measured with different S or different pixels missing.
    """
    if split not in SPLITS:
        raise ConfigError(f"Compare on 'validation' or 'test' images; received {split!r}.")
    paths = [Path(run) for run in runs]
    resolved = [path.resolve() for path in paths]
    twice = [
        str(path) for path, place in zip(paths, resolved, strict=True) if resolved.count(place) > 1
    ]
    if twice:
        raise ConfigError(f"Give each run once; received {', '.join(twice)}.")
    folders = [RunFolder.open(path) for path in paths]
    seen = {folder.path: folder.about["data"] for folder in folders}
    if len({data["fingerprint"] for data in seen.values()}) > 1:
        seen_data = ", ".join(
            f"{path} {data['name']!r} ({data['fingerprint']})" for path, data in seen.items()
        )
        raise RunError(
            "Only runs on the same images, split the same way, can be compared; these saw "
            f"different ones: {seen_data}. Train them with the same data.* settings."
        )
    name, fingerprint = next((data["name"], data["fingerprint"]) for data in seen.values())
    metrics = [_metrics(folder, split) for folder in folders]
    conditions = _conditions(folders, metrics)
    rows = tuple(
        _row(folder, of, name, split, conditions)
        for folder, of in zip(folders, metrics, strict=True)
    )
    return Comparison(name, fingerprint, split, rows)


def _conditions(
    folders: Sequence[RunFolder], metrics: Sequence[dict[int, dict[str, Any]]]
) -> dict[str, Any]:
    """Conditions, such as S, that all numbers share, by key; None where nothing was measured.

    Raises:
        RunError: they differ.
    """
    common = {}
    every = [one for name in MEASURES.names() for one in MEASURES.get(name).conditions]
    for key, what, find in every:
        found = {
            f"{folder.path}, trial {trial}": found_one
            for folder, trials in zip(folders, metrics, strict=True)
            for trial, one in trials.items()
            if (found_one := _condition(find, one)) is not None
        }
        if len(set(found.values())) > 1:
            listed = "; ".join(f"{run}: {value}" for run, value in found.items())
            raise RunError(
                f"These runs were measured under different conditions ({what}): {listed}. "
                "Measure them the same way with `gncn evaluate`."
            )
        common[key] = next(iter(found.values()), None)
    return common


def _condition(find: Callable[[Any], Any], numbers: dict[str, Any]) -> int | str | None:
    """A condition; None if there is none, or if the numbers are damaged, which `_found` reports."""
    try:
        value = find(numbers)
    except (AttributeError, KeyError, TypeError):
        return None
    return value if isinstance(value, int | str) else None


def _row(
    folder: RunFolder,
    metrics: dict[int, dict[str, Any]],
    data: str,
    split: str,
    conditions: dict[str, Any],
) -> Row:
    about, history = folder.about, folder.history
    model = about.get("model", "gncn")
    kept = dict(enumerate(about.get("epochs_kept", [])))
    last = {record.trial: record.epoch for record in history if record.kept}
    records = {r.trial: r for r in history if r.epoch == kept.get(r.trial, last[r.trial])}
    values = {}
    for key, column in columns().items():
        trials = sorted({*records, *metrics})
        found = [_found(folder, column, records.get(k), metrics.get(k, {}), split) for k in trials]
        known = np.array([one for one in found if one is not None])
        if len(known):
            deviation = float(known.std(ddof=1)) if len(known) > 1 else None
            values[key] = Summary(float(known.mean()), deviation, len(known))
    paper = published(data, model, conditions.get("n_samples"), conditions.get("missing"))
    cells = {key: published_number(column, paper) for key, column in columns().items()}
    return Row(
        folder.path,
        model,
        about.get("n_synapses"),
        values,
        {key: one for key, one in cells.items() if one is not None},
        _curve(history, split),
    )


def _found(
    folder: RunFolder,
    column: Column,
    record: EpochRecord | None,
    metrics: dict[str, Any],
    split: str,
) -> float | None:
    """A number from files that may be damaged."""
    try:
        found = column_value(column, record, metrics, split)
    except (KeyError, AttributeError, TypeError, ValueError) as error:
        raise _malformed(folder, split, f"{type(error).__name__}: {error}") from error
    if found is not None and not isinstance(found, int | float):
        raise _malformed(folder, split, f"{str(found)[:80]!r} is no number")
    return found


def _malformed(folder: RunFolder, split: str, why: str) -> RunError:
    return RunError(
        f"The numbers measured of {folder.path} can't be used: {why}. Make them again with "
        f"`gncn evaluate {folder.path} --split {split} --replace`."
    )


def _curve(history: Sequence[EpochRecord], split: str) -> tuple[float, ...]:
    """Mean BCE over trials after each epoch."""
    by_epoch: dict[int, list[float]] = {}
    for record in history:
        if record.error_name == "bce":
            by_epoch.setdefault(record.epoch, []).append(getattr(record, split).error)
    return tuple(float(np.mean(by_epoch[epoch])) for epoch in sorted(by_epoch))


def _metrics(folder: RunFolder, split: str) -> dict[int, dict[str, Any]]:
    """What ``gncn evaluate`` measured, by trial."""
    found = {}
    for path in sorted(folder.path.glob(f"metrics-{split}*.json")):
        try:
            metrics = read_json(path)
            found[int(metrics["trial"])] = metrics
        except (RunError, ValueError, TypeError, KeyError) as error:
            raise RunError(
                f"{path} can't be read: {error}. Make it again with `gncn evaluate {folder.path} "
                f"--split {split} --replace`."
            ) from error
    return found
