"""Comparing runs: one table of models, with means over trials and the paper's numbers.

Errors and BCE come from each run's history, at the epochs kept; everything else from the
``metrics-SPLIT*.json`` that ``gncn evaluate`` wrote, one file for each trial evaluated.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gncn.base.errors import ConfigError, RunError
from gncn.base.files import read_json
from gncn.measures import MEASURES
from gncn.runs.folder import RunFolder
from gncn.study.columns import best_of, column_value, columns, published_number
from gncn.study.paper import published

SPLITS = ("validation", "test")
_DAMAGED = (KeyError, AttributeError, TypeError, ValueError)


@dataclass(frozen=True)
class Summary:
    """A number over trials.

    Attributes:
        mean: over the trials that have the number.
        deviation: standard deviation over them; None for one.
        n_trials: number of these trials.
    """

    mean: float
    deviation: float | None
    n_trials: int


def over_trials(values: Iterable[float | None]) -> Summary | None:
    """A number over the trials that have it; None if none has."""
    known = np.array([value for value in values if value is not None], float)
    if not len(known):
        return None
    deviation = float(known.std(ddof=1)) if len(known) > 1 else None
    return Summary(float(known.mean()), deviation, len(known))


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
    """Several runs, a row for each as given, on the same images.

    Attributes:
        data: name of the data set.
        fingerprint: of its arrays.
        split: the images that numbers are of.
    """

    data: str
    fingerprint: str
    split: str
    rows: tuple[Row, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Keys of the columns for which some run or the paper has a number."""
        known = {key for row in self.rows for key in (*row.values, *row.published)}
        return tuple(key for key in columns() if key in known)

    def best(self, key: str, n: int = 2) -> set[Path]:
        """The runs with the `n` best of our numbers in a column; none if it ranks nobody."""
        means = {row.run: row.values[key].mean for row in self.rows if key in row.values}
        return best_of(columns()[key], means, n)


def compare(runs: Sequence[str | Path], *, split: str = "test") -> Comparison:
    """Gather the numbers of several runs.

    Args:
        runs: run folders.
        split: ``validation`` or ``test``.

    Raises:
        ConfigError: the split is unknown, or runs are given twice.
        RunError: a folder holds no run, or the runs saw different images or splits, or were
            measured with different S or different pixels missing.
    """
    if split not in SPLITS:
        raise ConfigError(f"Compare on 'validation' or 'test' images; received {split!r}.")
    paths = [Path(run) for run in runs]
    places = [path.resolve() for path in paths]
    if twice := [str(path) for path in paths if places.count(path.resolve()) > 1]:
        raise ConfigError(f"Give each run once; received {', '.join(twice)}.")
    measured = [(folder, _metrics(folder, split)) for folder in map(RunFolder.open, paths)]
    seen = {folder.path: folder.about["data"] for folder, _ in measured}
    if len({data["fingerprint"] for data in seen.values()}) > 1:
        seen_data = ", ".join(
            f"{path} {data['name']!r} ({data['fingerprint']})" for path, data in seen.items()
        )
        raise RunError(
            "Only runs on the same images, split the same way, can be compared; these saw "
            f"different ones: {seen_data}. Train them with the same data.* settings."
        )
    conditions = _conditions(measured)
    rows = tuple(_row(folder, metrics, split, conditions) for folder, metrics in measured)
    data = next(iter(seen.values()))
    return Comparison(data["name"], data["fingerprint"], split, rows)


Metrics = dict[int, dict[str, Any]]
"""What ``gncn evaluate`` measured, by trial."""


def _metrics(folder: RunFolder, split: str) -> Metrics:
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


def _conditions(measured: Sequence[tuple[RunFolder, Metrics]]) -> dict[str, Any]:
    """Conditions, such as S, that all numbers share, by key; None where nothing was measured.

    Raises:
        RunError: they differ.
    """
    common = {}
    for key, what, find in (c for name in MEASURES.names() for c in MEASURES.get(name).conditions):
        found = {}
        for folder, trials in measured:
            for trial, numbers in trials.items():
                try:
                    value = find(numbers)
                except _DAMAGED:  # `_found` reports it
                    continue
                if isinstance(value, int | str):
                    found[f"{folder.path}, trial {trial}"] = value
        if len(set(found.values())) > 1:
            listed = "; ".join(f"{run}: {value}" for run, value in found.items())
            raise RunError(
                f"These runs were measured under different conditions ({what}): {listed}. "
                "Measure them the same way with `gncn evaluate`."
            )
        common[key] = next(iter(found.values()), None)
    return common


def _row(folder: RunFolder, metrics: Metrics, split: str, conditions: dict[str, Any]) -> Row:
    about, history = folder.about, folder.history
    model = about.get("model", "gncn")
    last = {record.trial: record.epoch for record in history if record.kept}
    kept = last | dict(enumerate(about.get("epochs_kept", [])))
    records = {record.trial: record for record in history if record.epoch == kept[record.trial]}
    paper = published(
        about["data"]["name"], model, conditions.get("n_samples"), conditions.get("missing")
    )
    values, papers = {}, {}
    for key, column in columns().items():
        trials = sorted({*records, *metrics})
        try:
            numbers = [
                column_value(column, records.get(k), metrics.get(k, {}), split) for k in trials
            ]
        except _DAMAGED as error:
            raise _malformed(folder, split, f"{type(error).__name__}: {error}") from error
        for one in numbers:
            if one is not None and not isinstance(one, int | float):
                raise _malformed(folder, split, f"{str(one)[:80]!r} is no number")
        if (ours := over_trials(numbers)) is not None:
            values[key] = ours
        if (theirs := published_number(column, paper)) is not None:
            papers[key] = theirs
    curves: dict[int, list[float]] = {}
    for record in history:
        if record.error_name == "bce":
            curves.setdefault(record.epoch, []).append(getattr(record, split).error)
    curve = tuple(float(np.mean(curves[epoch])) for epoch in sorted(curves))
    return Row(folder.path, model, about.get("n_synapses"), values, papers, curve)


def _malformed(folder: RunFolder, split: str, why: str) -> RunError:
    return RunError(
        f"The numbers measured of {folder.path} can't be used: {why}. Make them again with "
        f"`gncn evaluate {folder.path} --split {split} --replace`."
    )
