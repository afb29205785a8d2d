"""Comparing models: one table of runs, with means over trials and the paper's numbers.

Models and estimators in memory stand in the same table, measured when they are compared.

Errors and BCE come from each run's history, at the epochs kept; everything else from the
``metrics-SPLIT*.json`` that ``gncn evaluate`` wrote, one file for each trial evaluated.

Each measure has ours, mean ± standard deviation over trials, and next to it the paper's: columns on
paper, rows on a screen, where runs stand side by side.  The best two of three or more are in bold;
text, which may be shown without bold type, has a star, too.
"""

import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gncn.base.errors import ConfigError, RunError, unknown_choice
from gncn.base.files import DAMAGED, place, read_json
from gncn.base.shown import html_table, in_latex, in_markdown, markdown_table, shown, text_table
from gncn.measures import MEASURES
from gncn.runs.evaluation import Evaluation, evaluate
from gncn.runs.folder import RunFolder
from gncn.study.paper import Summary, best_of, columns, our_numbers, published

FORMATS = ("text", "markdown", "latex", "csv", "json")
NOTE = (
    "log p(x) is a lower bound on average, from S prior samples. It is compared with the paper's "
    "printed numbers less 2 log S; log p(x) + 2 log S is compared with them as printed."
)
_AS_LATEX = {
    "%": r"\%",
    "±": r"$\pm$",
    "log p(x)": r"$\log p(x)$",
    "N(0, I)": r"$\mathcal{N}(0, I)$",
    "2 log S": r"$2 \log S$",
    "_": r"\_",
    "–": "--",
}


@dataclass(frozen=True)
class Row:
    """One run: its folder, and what was measured of its model.

    Attributes:
        run: the run's folder; of a model in memory only a name.
        n_synapses: all that the model learns, if it has synapses.
        values: our numbers, by the keys of `gncn.study.paper.columns`; `published` has the paper's.
        curves: mean error over trials after each epoch; empty for models without.
        error_name: which error that is: ``bce`` or ``squared_error``.
        train_on: ``both`` if it learned from validation images, too.
        unfinished: see `RunFolder.unfinished`.
    """

    run: Path
    model: str
    n_synapses: int | None
    values: dict[str, Summary]
    published: dict[str, float]
    curves: tuple[float, ...]
    error_name: str = "bce"
    train_on: str = "train"
    unfinished: str = ""


@dataclass(frozen=True)
class Comparison:
    """Several runs, a row for each as given, on the same images: data set, fingerprint, split."""

    data: str
    fingerprint: str
    split: str
    rows: tuple[Row, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Keys of the columns for which some run or the paper has a number."""
        known = {key for row in self.rows for key in (*row.values, *row.published)}
        return tuple(key for key in columns() if key in known)

    @property
    def names(self) -> list[str]:
        """What to call the runs: their folders' names, or paths where two have the same name."""
        short = [row.run.name for row in self.rows]
        return short if len({*short}) == len(short) else [str(row.run) for row in self.rows]

    def best(self, key: str, n: int = 2) -> set[Path]:
        """The runs with the `n` best of our numbers in a column; see `best_of`."""
        means = {row.run: row.values[key].mean for row in self.rows if key in row.values}
        return best_of(columns()[key], means, n)

    @property
    def title(self) -> str:
        """Which images the numbers are of."""
        star = " (* is among the best two)" if any(map(self.best, self.columns)) else ""
        return f"{self.data}, {self.split} images{star}"

    def _lines(self) -> list[list[str]]:
        """The table, a row for each run."""
        return [list(line) for line in zip(*_table(self, "{}*".format), strict=True)]

    def __str__(self) -> str:
        return f"{self.title}\n{text_table(self._lines())}"

    def _repr_html_(self) -> str:
        return html_table(self.title, self._lines())


def compare(
    models: Sequence[Any] | Mapping[str, Any],
    data: Any = None,
    *,
    split: str = "test",
    **options: Any,
) -> Comparison:
    """Compare several models on the ``validation`` or ``test`` images.

    Args:
        models: paths of run folders, whose numbers are those that ``gncn evaluate`` found.  Or
            models, fitted estimators and what `gncn.evaluate` returned, perhaps by names.
        data: for models and estimators; see `gncn.evaluate`.
        split: the images that numbers are of.
        options: for models and estimators: of `gncn.evaluate`, such as ``only=["likelihood"]``.

    Raises:
        ConfigError: the split is unknown, runs are given twice, or runs and models together.
        RunError: a folder holds no run, or the runs saw different images or splits, or were
            measured with different S or different pixels missing.

    >>> import gncn
    >>> data = gncn.load_dataset("digits")
    >>> circuit = gncn.chain((data.n_pixels, 20), competition="columns", group_size=5)
    >>> networks = {f"seed {k}": gncn.build(circuit, seed=k, n_settle_steps=5) for k in (0, 1)}
    >>> found = gncn.compare(networks, data, split="validation", only=["sparsity"])
    >>> [row.run.name for row in found.rows], found.columns
    (['seed 0', 'seed 1'], ('bce',))
    """
    named = dict(models) if isinstance(models, Mapping) else None
    several = list(models.values() if isinstance(models, Mapping) else models)
    paths = [isinstance(one, str | os.PathLike) for one in several]
    # Numbers of runs come from their folders, so data and options would have no effect on them.
    if any(paths) and (data is not None or options or named is not None or not all(paths)):
        raise ConfigError(
            "Compare run folders, a list of paths without data and options; or models, with them."
        )
    if several and all(paths):
        return compare_runs(several, split=split)
    if not several:
        raise ConfigError("Give at least one run or model to compare; received none.")
    names = list(named or (f"{type(one).__name__} {n}" for n, one in enumerate(several, start=1)))
    return _compare_models(dict(zip(names, several, strict=True)), data, split, options)


def _compare_models(
    models: Mapping[str, Any], data: Any, split: str, options: dict[str, Any]
) -> Comparison:
    """The table of models that are measured now, or were by `evaluate`."""
    found = {
        name: one if isinstance(one, Evaluation) else evaluate(one, data, split=split, **options)
        for name, one in models.items()
    }
    seen = {name: (one["data"]["fingerprint"], one["split"]) for name, one in found.items()}
    if len(set(seen.values())) > 1:
        listed = ", ".join(f"{name}: {' '.join(each)}" for name, each in seen.items())
        raise ConfigError(f"Models can be compared on the same images only; received {listed}.")
    _conditions([(Path(name), {0: one.numbers}) for name, one in found.items()])
    rows = []
    for name, one in found.items():
        values = our_numbers([(None, one.numbers)], split)
        errors = {name: one[name] for name in ("bce", "squared_error") if name in one}
        values |= {name: Summary(error, None, 1) for name, error in errors.items()}
        model = getattr(models[name], "model_", models[name])
        # Networks have a circuit, baselines a blueprint, and mixtures neither.
        about = getattr(model, "circuit", getattr(model, "blueprint", None))
        n_synapses = getattr(about, "n_synapses", None)
        rows.append(Row(Path(name), type(models[name]).__name__, n_synapses, values, {}, ()))
    first = next(iter(found.values()))
    data = first["data"]
    return Comparison(data["name"], data["fingerprint"], first["split"], tuple(rows))


def compare_runs(runs: Sequence[str | Path], *, split: str = "test") -> Comparison:
    """Gather the numbers of several run folders.

    Raises:
        ConfigError: the split is unknown, or runs are given twice.
        RunError: a folder holds no run, or the runs saw different images or splits, or were
            measured with different S or different pixels missing.
    """
    if split not in ("validation", "test"):
        raise ConfigError(f"Compare on 'validation' or 'test' images; received {split!r}.")
    paths = [place(run) for run in runs]
    # By the place that links lead to: one run under two names counts once.
    places = [os.path.realpath(path) for path in paths]  # `Path.resolve` fails on loops of links
    if twice := [str(path) for path in paths if places.count(os.path.realpath(path)) > 1]:
        raise ConfigError(f"Give each run once; received {', '.join(twice)}.")
    measured = [(folder, _metrics(folder, split)) for folder in map(RunFolder.open, paths)]
    for folder, _ in measured:
        folder.refuse_learned_from(split)
    seen = {folder.path: folder.about["data"] for folder, _ in measured}
    if len({data["fingerprint"] for data in seen.values()}) > 1:
        seen_data = ", ".join(
            f"{path} {data['name']!r} ({data['fingerprint']})" for path, data in seen.items()
        )
        raise RunError(
            "Only runs on the same images, split the same way, can be compared; these saw "
            f"different ones: {seen_data}. Train them with the same data.* settings."
        )
    conditions = _conditions([(folder.path, trials) for folder, trials in measured])
    rows = tuple(_row(folder, metrics, split, conditions) for folder, metrics in measured)
    data = next(iter(seen.values()))
    return Comparison(data["name"], data["fingerprint"], split, rows)


def _metrics(folder: RunFolder, split: str) -> dict[int, Any]:
    """The numbers of ``gncn evaluate``, by trial."""
    found = {}
    for path in sorted(folder.path.glob(f"metrics-{split}*.json")):
        try:
            metrics = read_json(path)
            found[trial := int(metrics["trial"])] = metrics
        except (RunError, *DAMAGED) as error:
            raise RunError(
                f"{path} can't be read: {str(error).rstrip('.')}. Make it again with `gncn "
                f"evaluate {folder.path} --split {split} --replace`."
            ) from error
        # Training has gone on, and its numbers are of an older model.
        if "model" in metrics and metrics["model"] != folder.digest(trial):
            raise RunError(
                f"{path} was measured of another model: training has gone on since. Measure it "
                f"again with `gncn evaluate {folder.path} --split {split} --trial {trial}`."
            )
    return found


def _conditions(measured: Sequence[tuple[Path, dict[int, Any]]]) -> dict[str, Any]:
    """Conditions, such as S, that all numbers share, by key; None where nothing was measured."""
    common = {}
    for key, what, find in (c for name in MEASURES.names() for c in MEASURES.get(name).conditions):
        found = {}
        for path, trials in measured:
            for trial, numbers in trials.items():
                try:
                    value = find(numbers)
                except DAMAGED:  # `_row` reports it
                    continue
                # Only plain values can be compared; others are damaged, and `_row` says so.
                if isinstance(value, int | str):
                    found[f"{path}, trial {trial}"] = value
        if len(set(found.values())) > 1:
            listed = "; ".join(f"{run}: {value}" for run, value in found.items())
            raise RunError(
                f"These runs were measured under different conditions ({what}): {listed}. "
                "Measure them the same way with `gncn evaluate`."
            )
        common[key] = next(iter(found.values()), None)
    return common


def _row(folder: RunFolder, metrics: dict[int, Any], split: str, conditions: dict[str, Any]) -> Row:
    about, history = folder.about, folder.history
    model, n_synapses = about.get("model", "gncn"), about.get("n_synapses")
    if not isinstance(model, str) or not isinstance(n_synapses, int | None):
        raise RunError(f"{folder.path} doesn't say what model it holds: its run.json is damaged.")
    # Without the epochs kept, as after a kill, the last improvement tells.
    last = {record.trial: record.epoch for record in history if record.kept}
    try:
        kept = last | dict(enumerate(about.get("epochs_kept", [])))
        records = {record.trial: record for record in history if record.epoch == kept[record.trial]}
        # A trial may have a history and no measurements, or the other way round.
        trials = [(records.get(k), metrics.get(k, {})) for k in sorted({*records, *metrics})]
        values = our_numbers(trials, split)
    except (RunError, *DAMAGED) as error:
        why = str(error) if isinstance(error, RunError) else f"{type(error).__name__}: {error}"
        raise RunError(
            f"The numbers measured of {folder.path} can't be used: {why}. Make them again with "
            f"`gncn evaluate {folder.path} --split {split} --replace`."
        ) from error
    paper = published(
        about["data"]["name"], model, conditions.get("n_samples"), conditions.get("missing")
    )
    theirs = {key: paper.of(column) for key, column in columns().items()}
    curves: dict[int, list[float]] = {}
    for record in history:
        seen = getattr(record, split)
        if record.error_name in ("bce", "squared_error") and seen is not None:
            curves.setdefault(record.epoch, []).append(seen.error)
    return Row(
        run=folder.path,
        model=model,
        n_synapses=n_synapses,
        values=values,
        published={key: number for key, number in theirs.items() if number is not None},
        curves=tuple(float(np.mean(curves[epoch])) for epoch in sorted(curves)),
        error_name="squared_error" if "squared_error" in values else "bce",
        train_on=about.get("train_on", "train"),
        unfinished=folder.unfinished,
    )


def _table(
    comparison: Comparison, bold: Callable[[str], Any], name: Callable[[str], Any] = str
) -> list[list[Any]]:
    """The columns of the table: the heading, and a cell for each run; `name` writes names."""
    rows = comparison.rows
    synapses = ("–" if row.n_synapses is None else f"{row.n_synapses:,}" for row in rows)
    table = [["run", *map(name, comparison.names)], ["model", *(name(row.model) for row in rows)]]
    table.append(["synapses", *synapses])
    for key in comparison.columns:
        best, cells = comparison.best(key), [columns()[key].title]
        for row in rows:
            cell = "–"
            if (ours := row.values.get(key)) is not None:
                spread = "" if ours.deviation is None else f" ± {ours.deviation:.2f}"
                cell = f"{ours.mean:.2f}{spread}"
            cells.append(bold(cell) if row.run in best else cell)
        table.append(cells)
        theirs = [row.published.get(key) for row in rows]
        if any(number is not None for number in theirs):
            numbers = ("–" if number is None else f"{number:.2f}" for number in theirs)
            table.append(["paper", *numbers])
    return table


def render(comparison: Comparison, form: str) -> str:
    """The comparison as Markdown, LaTeX or CSV.

    Raises:
        ConfigError: the form is unknown.
    """
    if form == "markdown":
        columns = _table(comparison, "**{}**".format, in_markdown)
        return markdown_table([*zip(*columns, strict=True)], 2)
    if form == "latex":
        runs, models, *others = _table(comparison, r"\textbf{{{}}}".format, in_latex)
        cells = ([_latex(cell) for cell in one] for one in others)
        lines = list(zip(runs, models, *cells, strict=True))
        head, *rows = (" & ".join(line) + r" \\" for line in lines)
        begin = rf"\begin{{tabular}}{{ll{'r' * (len(lines[0]) - 2)}}}"
        return "\n".join([begin, r"\hline", head, r"\hline", *rows, r"\hline", r"\end{tabular}"])
    if form == "csv":
        return _csv(comparison)
    raise unknown_choice("format", form, FORMATS)


def _csv(comparison: Comparison) -> str:
    """A line for each run: means, standard deviations over trials, the paper's numbers."""
    keys = comparison.columns
    kinds = [(key, f"{key}_sd", f"{key}_paper") for key in keys]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["run", "model", "synapses", *(name for three in kinds for name in three)])
    for row in comparison.rows:
        cells: list[Any] = [shown(str(row.run)), shown(row.model), row.n_synapses]
        for key in keys:
            ours = row.values.get(key)
            cells += [ours and ours.mean, ours and ours.deviation, row.published.get(key)]
        writer.writerow(cells)
    return out.getvalue().rstrip("\n")


def _latex(cell: str) -> str:
    for plain, written in _AS_LATEX.items():
        cell = cell.replace(plain, written)
    return cell


def rich_tables(comparison: Comparison, console: Console) -> list[Table]:
    """The comparison for a terminal: a column for each run, as many tables as its width needs."""
    # Wide enough for any table, to learn how wide each would like to be.
    boundless = console.options.update(width=10_000)
    _, _, *lines = _table(comparison, lambda cell: Text.assemble((cell, "bold"), "*"))
    title, names = comparison.title, comparison.names

    def table_of(runs: slice) -> Table:
        table = Table("run\nmodel", title=title, title_justify="left")
        for name, row in zip(names[runs], comparison.rows[runs], strict=True):
            table.add_column(Text(f"{shown(name, keep='')}\n{shown(row.model)}"), justify="right")
        for heading, *cells in lines:
            if heading == "paper":
                table.add_row("  the paper's", *cells[runs], style="dim")
            else:
                table.add_row(heading, *cells[runs])
        return table

    def fits(table: Table) -> bool:
        return console.measure(table, options=boundless).maximum <= console.width

    tables, start = [], 0
    while start < len(comparison.rows):
        ends = range(len(comparison.rows), start, -1)
        # As many runs side by side as fit; one at least, however narrow the terminal is.
        end = next((end for end in ends if fits(table_of(slice(start, end)))), start + 1)
        tables.append(table_of(slice(start, end)))
        start = end
    return tables


def hints(comparison: Comparison) -> list[str]:
    """Hints about runs that aren't finished, or were measured on other images."""
    other = "validation" if comparison.split == "test" else "test"
    named = dict(zip(comparison.names, comparison.rows, strict=True))
    what = "learned from validation images, too (training.train_on='both')."
    found = [f"{name} {what}" for name, row in named.items() if row.train_on == "both"]
    found += [row.unfinished for row in comparison.rows if row.unfinished]
    each = (comparison.split, other)
    has = {s: {n for n, row in named.items() if any(row.run.glob(f"metrics-{s}*"))} for s in each}
    if lacking := [name for name in named if name in has[other] - has[comparison.split]]:
        found.append(
            f"Of {', '.join(lacking)} `gncn evaluate` measured {other} images only: compare them "
            f"with --split {other}, or measure them with `gncn evaluate RUN --split "
            f"{comparison.split}`."
        )
    return found


def as_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values, at full precision."""
    best = {key: comparison.best(key) for key in comparison.columns}
    return {
        "data": {"name": comparison.data, "fingerprint": comparison.fingerprint},
        "split": comparison.split,
        "note": NOTE,
        "rows": [
            {
                "run": str(row.run),
                "model": row.model,
                "n_synapses": row.n_synapses,
                "train_on": row.train_on,
                "unfinished": row.unfinished,
                "measures": {
                    key: asdict(value) | {"among_best_two": row.run in best[key]}
                    for key, value in row.values.items()
                },
                "published": row.published,
                f"{row.error_name}_by_epoch": list(row.curves),
            }
            for row in comparison.rows
        ],
    }
