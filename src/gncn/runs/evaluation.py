"""`evaluate`: measure a model from Python; `Evaluation`: what was found, as numbers and a table.

A run folder is measured as ``gncn evaluate`` measures it, and keeps what is found.  A model or an
estimator is measured by the same measures, and nothing is written.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from gncn.base.errors import ConfigError, RunError, quoted
from gncn.base.files import DAMAGED, make_folder, place
from gncn.base.progress import Report, shown_progress
from gncn.base.shown import html_table, text_table
from gncn.baselines.autoencoder import Autoencoder
from gncn.core.network import Network
from gncn.data import Dataset
from gncn.measures import Result, Row, Subject, as_measurable, make_measures, measured
from gncn.runs.assess import assess, mean_statistics, suited
from gncn.runs.config import Config
from gncn.runs.folder import RunFolder
from gncn.training.fit import method_of

Draw = Callable[[Path | None], list[Path]]
"""Draws all figures, in a folder if one is given; returns their paths."""


def _draw_nothing(folder: Path | None) -> list[Path]:
    return []


class Evaluation(Mapping[str, Any]):
    """The measurements of a model: a mapping of the numbers, as ``metrics-SPLIT.json`` has them.

    Attributes:
        numbers: all numbers, by the names of measures.
        per_image: values of each image, such as ``log_likelihood``; empty for a run, whose folder
            has them.

    Args:
        draw: draws the figures.
        only: names of the measures to tabulate; None for all that have numbers.
    """

    def __init__(
        self,
        numbers: dict[str, Any],
        per_image: Mapping[str, Any] = {},
        draw: Draw = _draw_nothing,
        only: Sequence[str] | None = None,
    ) -> None:
        self.numbers, self.per_image, self._draw = numbers, dict(per_image), draw
        self._only = only

    def __getitem__(self, name: str) -> Any:
        return self.numbers[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.numbers)

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def _shown(self) -> tuple[list[Row], list[str], list[str]]:
        """Rows, notes and `others`; a `RunError` where what was kept of a measure is damaged."""
        rows, notes, others = [], [], []
        if "bce" in self.numbers:
            rows.append(Row("reconstruction BCE", f"{self.numbers['bce']:.2f} nats"))
        if "squared_error" in self.numbers:
            value = f"{self.numbers['squared_error']:.4g}"
            rows.append(Row("squared error", value, "of reconstructions"))
        # All measures are asked, and those without numbers have no rows.
        for name, measure in make_measures(None, {}).items():
            try:
                found = measure.rows(self.numbers)
            except DAMAGED as error:
                raise RunError(
                    f"What was measured before of {name!r} is damaged. Give --replace "
                    "(replace=True) to drop it."
                ) from error
            if not found:
                continue
            if self._only is not None and name not in self._only:
                others.append(name)
                continue
            rows += found
            notes += [measure.note] if measure.note else []
        return rows, notes, others

    @property
    def rows(self) -> list[Row]:
        """The table: name, value and remark of every number worth a line."""
        return self._shown[0]

    @property
    def notes(self) -> list[str]:
        """How to read the numbers."""
        return self._shown[1]

    @property
    def others(self) -> list[str]:
        """Measures that have numbers but no rows: a run keeps what it was asked for before."""
        return self._shown[2]

    @property
    def title(self) -> str:
        """Which images the numbers are of."""
        return f"{self.numbers['n_images']:,} {self.numbers['split']} images"

    def figures(self, folder: str | Path | None = None) -> list[Path]:
        """Draw the figures of all measures as PNGs; returns their paths.

        Args:
            folder: where; made if need be.  A run's figures are in its own folder already.

        Raises:
            ConfigError: the model is no run's, and no folder is given.
        """
        return self._draw(None if folder is None else place(folder))

    def __str__(self) -> str:
        lines = text_table([row[:2] for row in self.rows]).splitlines() if self.rows else []
        remarks = (row.remark for row in self.rows)
        pairs = zip(lines, remarks, strict=True)
        return "\n".join([self.title, *(f"{line}  {why}".rstrip() for line, why in pairs)])

    def __repr__(self) -> str:
        return f"<Evaluation of {self.title}>"

    def _repr_html_(self) -> str:
        return html_table(self.title, [("measure", "value", "remark"), *self.rows])


def evaluate(
    model: Any,
    data: Any = None,
    *,
    only: str | Sequence[str] | None = None,
    split: str = "validation",
    seed: int = 0,
    trial: int = 0,
    replace: bool = False,
    report: Report | None = None,
    progress: bool = False,
    **settings: Any,
) -> Evaluation:
    """Measure a model: likelihood, samples, completion, probe, sparsity, codes.

    Args:
        model: a network or baseline, a fitted estimator, or the path of a run folder.
        data: the `gncn.Dataset` that it was trained on; measures learn from its training images
            and report on another split.  A run knows its own.  For an estimator also images alone:
            its own training images then serve to learn from.
        only: names of measures, such as ``["likelihood", "sparsity"]``, or one name; None for all
            that the model and the data allow.  `gncn.registered("measure")` lists them.
        split: images to report on: ``validation`` while choosing, ``test`` once.
        seed: of all that is random.
        trial: which of a run's models.
        replace: drop what a run's folder holds of earlier measurements.
        report: receives what is being done, a text for each news.
        progress: draw a bar of it, in a terminal or a notebook.
        settings: of the measures, as options of ``gncn evaluate``: ``n_samples=1000``.

    Raises:
        ConfigError: a name or value is not allowed, or doesn't suit the model or the data.
        RunError: the folder holds no run, or was measured with other settings.

    >>> import gncn
    >>> data = gncn.load_dataset("digits")
    >>> circuit = gncn.chain((data.n_pixels, 20), competition="columns", group_size=5)
    >>> network = gncn.build(circuit, seed=0, n_settle_steps=5)
    >>> print(gncn.evaluate(network, data, only=["sparsity"]).title)
    200 validation images
    """
    if isinstance(only, str):
        only = [only]
    if report is not None and not callable(report):
        raise ConfigError(
            f"report must be a function that receives texts, or None; received {quoted(report)}."
        )
    if isinstance(model, str | os.PathLike):
        folder = RunFolder.open(Path(model))
        with shown_progress(progress, "measuring", report) as told:
            numbers, drawn = assess(
                folder,
                folder.data() if data is None else data,
                split=split,
                only=only,
                settings=settings,
                seed=seed,
                trial=trial,
                replace=replace,
                report=told,
            )
        return Evaluation(numbers, draw=lambda _: drawn, only=only)
    if hasattr(model, "to_evaluate"):  # an estimator, whose module needs scikit-learn
        model, data = model.to_evaluate(data)
    if not isinstance(data, Dataset):
        raise ConfigError(
            f"data must be the `gncn.Dataset` that the model was trained on; received "
            f"{quoted(data)}. Make one of arrays with `gncn.from_arrays`."
        )
    subject = Subject(as_measurable(model), data, split, seed)
    measures = suited(only, settings, subject, type(model).__name__)
    header = {
        "split": split,
        "n_images": len(subject.target),
        "seed": seed,
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "settings": {name: value for one in measures.values() for name, value in one},
    }
    found = Result(header)
    with shown_progress(progress, "measuring", report):
        # The settings of evaluation alone matter here, so the default configuration will do.
        if isinstance(model, Network | Autoencoder):
            error = mean_statistics(model, subject.target, Config()).error
            found.numbers[method_of(model).error_name(model)] = error
        for name, measure in measures.items():
            found = found.with_(measured(name, measure, subject))

    def draw(folder: Path | None) -> list[Path]:
        if folder is None:
            raise ConfigError("Say where to draw: figures('figures').")
        make_folder(folder)
        paths = (measure.figure(found, subject, folder) for measure in measures.values())
        # Measures may share a figure.
        return list(dict.fromkeys(path for path in paths if path is not None))

    return Evaluation(found.numbers, found.per_image, draw)
