"""`assess`: measure a model of a run, draw the figures, and keep all of it in the run folder.

================================  ====================================================
file in the run folder            content
================================  ====================================================
``metrics-SPLIT.json``            every number; of trial K, ``metrics-SPLIT-K.json``
``per-image-SPLIT.safetensors``   log p(x) and squared errors of completion
``pictures-SPLIT.safetensors``    what figures show: samples, completions, laid-out codes
``trials/K/prior.safetensors``    the mixture prior (`gncn.runs.priors.load_mixture`)
``figures/``                      PNGs
================================  ====================================================

Among the numbers are the ``seconds`` of each measure; the first measure that needs codes or
a prior pays for them.  Files are written after each measure.  A run that is measured again
with the same model, images and settings keeps what isn't measured this time.
"""

import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace as replaced
from pathlib import Path
from typing import Any

import jax
import numpy as np

from gncn.base.errors import ConfigError, RunError, quoted, unknown_choice
from gncn.base.files import jsonable, read_json, sha256, sweep, write_atomic
from gncn.base.interrupts import check, interrupts_held
from gncn.base.locks import alone
from gncn.base.progress import Report
from gncn.base.tensors import pack, read_tensors
from gncn.baselines.autoencoder import Autoencoder
from gncn.baselines.baseline import Baseline
from gncn.core.network import Network
from gncn.data import Dataset, Split
from gncn.evaluation.mixture import Mixture
from gncn.measures import (
    MEASURES,
    Measure,
    Result,
    Subject,
    as_measurable,
    make_measures,
    measured,
    refuse_idle_settings,
)
from gncn.measures.completion import MissingMeasure
from gncn.measures.likelihood import PriorMeasure
from gncn.runs.config import Config
from gncn.runs.folder import SPLITS, RunFolder
from gncn.runs.parts import parts_kept
from gncn.runs.priors import save_mixture
from gncn.runs.replacing import CHECKPOINTS
from gncn.training.epochs import average
from gncn.training.examples import examples_of
from gncn.training.fit import method_of
from gncn.training.history import SplitRecord

MAX_TENSOR_BYTES = 1 << 28
"""Of the arrays for images and pictures; of 60,000 images they have 2 MB."""
_ADVICE = "Give --replace (replace=True) to drop what was measured before."


def choose_split(data: Dataset, name: str) -> Split:
    """The split of this name; a `ConfigError` where there is none."""
    if name not in SPLITS:
        raise unknown_choice("split", name, SPLITS)
    return getattr(data, name)


def mean_statistics(model: Network | Baseline, split: Split, config: Config) -> SplitRecord:
    """Error, ψ and sparsity averaged over a split, as in the run's training."""
    # Training's programs run several models at once: on a leading axis, here of one.
    stacked = jax.tree.map(lambda leaf: leaf[None], model)
    see, batch_size = method_of(model).see, config.training.evaluation_batch_size
    return average(stacked, examples_of(split), batch_size, see).record(0)


def assess(
    folder: RunFolder,
    data: Dataset,
    *,
    split: str,
    only: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
    seed: int = 0,
    trial: int = 0,
    replace: bool = False,
    wait: bool = False,
    report: Report = lambda _: None,
) -> tuple[dict[str, Any], list[Path]]:
    """Measure a model of a run; write, and return, its numbers and the paths of its figures.

    Args:
        folder: the run.
        data: its data.
        split: images to report on, ``validation`` or ``test``.
        only: names of measures; None for all that the model and the images allow.
        settings: of the measures, by name, such as ``{"n_samples": 1000}``.
        seed: of all that is random.
        trial: number of the model in the run.
        replace: drop what was measured before.
        wait: wait until no other process writes to the run's folder.
        report: receives what is being done.

    Raises:
        ConfigError: a name or value is not allowed, or doesn't suit this model or these data.
        RunError: the run was measured with another seed or settings, or the numbers can't
            be read, and `replace` is false; or another process writes to the folder.
    """
    # Alone for the whole evaluation: another one would write the same files.
    with alone(folder.path, "evaluating", wait=wait):
        return _assess(folder, data, split, only, settings, seed, trial, replace, report)


def _assess(
    folder: RunFolder,
    data: Dataset,
    split: str,
    only: Sequence[str] | None,
    settings: Mapping[str, Any] | None,
    seed: int,
    trial: int,
    replace: bool,
    report: Report,
) -> tuple[dict[str, Any], list[Path]]:
    folder.refuse_learned_from(split)
    model, both = folder.model(trial), folder.config.training.train_on == "both"
    subject = Subject(as_measurable(model), data, split, seed, report, both=both)
    measures = suited(only, settings or {}, subject, folder.config.model)
    # Settings of all measures that run, so a later evaluation can tell whether they changed.
    chosen = {name: getattr(m, name) for m in measures.values() for name in type(m).model_fields}
    header: dict[str, Any] = {
        "split": split,
        "n_images": len(subject.target),
        "trial": trial,
        "seed": seed,
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "model": folder.digest(trial),
        "settings": jsonable(chosen),
    }
    files = _Files(folder, split, trial)
    # What a killed process left half written would otherwise stay for ever.
    for place in (folder.trial(trial), folder.figure("all").parent):
        sweep(place)
    found = Result() if replace else files.read(header, tuple(measures), report)
    # What is kept of an evaluation that was killed depends on more than what is reported.
    masks = [m.visible(subject) for m in measures.values() if isinstance(m, MissingMeasure)]
    identity = header | {
        "masks": [sha256(np.asarray(mask).tobytes()) for mask in masks],
        "measures": {name: _code(type(measure)) for name, measure in measures.items()},
    }
    # Settings of measures that aren't measured now stay as they were.
    header["settings"] = found.numbers.get("settings", {}) | header["settings"]
    found = found.with_(Result(header))
    # Only these reconstruct images.
    if isinstance(model, Network | Autoencoder):
        error = mean_statistics(model, subject.target, folder.config).error
        found.numbers[method_of(model).error_name(model)] = error
    figures: list[Path] = []
    took = found.numbers.setdefault("seconds", {})
    where = folder.path / CHECKPOINTS / f"evaluation-{split}-{trial}"
    with parts_kept(where, identity, fresh=replace) as keep:
        subject = replaced(subject, keep=keep)
        for name, measure in measures.items():
            check()
            new, seconds = _measure(name, measure, subject)
            began = time.perf_counter()
            # A measure counts as done only with its seconds, which are written last.
            took.pop(name, None)
            with interrupts_held():
                # Numbers go first and come back last, so they never stand next to arrays of another
                # measurement.
                files.forget(found, new)
                found = found.with_(new)
                files.write(found, subject)
            figure = measure.figure(found, subject, folder.figure("all").parent)
            if figure is not None and figure not in figures:
                figures.append(figure)
            took[name] = seconds + time.perf_counter() - began
            files.write_numbers(found)
    return found.numbers, figures


def suited(
    only: Sequence[str] | None, settings: Mapping[str, Any], subject: Subject, kind: str
) -> dict[str, Measure]:
    """The measures asked for, or all that a model of this kind and the images allow; by name.

    Raises:
        ConfigError: a name or value is not allowed, or doesn't suit the model or the images.
    """
    measures = make_measures(None if only is None else tuple(only), settings)
    if only is None:
        measures = {name: one for name, one in measures.items() if not one.on_request}
    refused = {n: why for n, one in measures.items() if (why := _why_not(n, one, subject, kind))}
    if only is not None and refused:
        # The first refusal is enough: it names a measure that was asked for.
        raise ConfigError(next(iter(refused.values())))
    measures = {name: measure for name, measure in measures.items() if name not in refused}
    refuse_idle_settings(settings, measures)
    for measure in measures.values():
        measure.check(subject)
    return measures


def _measure(name: str, measure: Measure, subject: Subject) -> tuple[Result, float]:
    """The result of a measure, perhaps kept from a killed evaluation, and the seconds it took."""
    new: list[float] = []

    def compute() -> dict[str, Any]:
        # It is filled only if the measure runs now, and not if it was kept.
        new.append(began := time.perf_counter())
        found = measured(name, measure, subject)
        return {"found": vars(found), "seconds": time.perf_counter() - began}

    part = subject.keep(f"measure {name}", compute)
    if isinstance(measure, PriorMeasure) and not new:  # the kill may have come before it was saved
        subject.prior(*measure.fitting)
    return Result(**part["found"]), part["seconds"]


def _code(kind: type) -> str:
    """A hash of the file in which a class is written; empty where there is none."""
    # A changed measure must be measured again, though its settings are the same.
    file = getattr(sys.modules.get(kind.__module__), "__file__", None)
    return sha256(Path(file).read_bytes())[:12] if file else ""


def kept(folder: RunFolder, split: str, trial: int) -> str:
    """A sentence that says which numbers of a model a folder holds."""
    path = _Files(folder, split, trial).numbers
    measured = read_json(path).get("seconds", {}) if path.exists() else {}
    if not measured:
        return "nothing had been measured yet."
    return f"{path} holds what was measured: {', '.join(measured)}."


def _why_not(name: str, measure: Measure, subject: Subject, kind: str) -> str:
    """Why something can't be measured of a model and images; empty if it can."""
    if measure.needs_codes and not subject.model.has_codes:
        possible = ", ".join(n for n in MEASURES.names() if not MEASURES.get(n).needs_codes)
        return f"{name!r} can't be measured of the model {kind!r}; what can is {possible}."
    if measure.needs_labels and subject.data.n_classes is None:
        return f"The measure {name!r} needs labels, and the data {subject.data.name!r} have none."
    if measure.needs_density and subject.output.binary and not subject.data.binary:
        return (
            f"The measure {name!r} needs a density, and a Bernoulli output has one of binary "
            f"images only; the images of {subject.data.name!r} are real-valued."
        )
    return ""


class _Files:
    """The files with the measurements of one model on one split."""

    def __init__(self, folder: RunFolder, split: str, trial: int) -> None:
        which = split if trial == 0 else f"{split}-{trial}"
        self.numbers = folder.path / f"metrics-{which}.json"
        self.per_image = folder.path / f"per-image-{which}.safetensors"
        self.pictures = folder.path / f"pictures-{which}.safetensors"
        self.prior = folder.trial(trial) / "prior.safetensors"
        self._saved: Mixture | None = None
        self._written = ""

    def forget(self, known: Result, new: Result) -> None:
        """Remove the numbers that new ones replace, before the arrays do not match them."""
        if self.numbers.exists():
            stays = {key: one for key, one in known.numbers.items() if key not in new.numbers}
            self.write_numbers(Result(stays))

    def write_numbers(self, found: Result) -> None:
        """Write the numbers, unless they are the last that were written."""
        content = json.dumps(jsonable(found.numbers), indent=2, allow_nan=False) + "\n"
        # The same content again, as where `forget` removed nothing, is not written.
        if content != self._written:
            write_atomic(self.numbers, content)
            self._written = content

    def write(self, found: Result, subject: Subject) -> None:
        write_atomic(self.per_image, pack(found.per_image))
        write_atomic(self.pictures, pack(found.pictures))
        for fitted in subject.priors.values():
            if isinstance(fitted.prior, Mixture) and fitted.prior is not self._saved:
                save_mixture(fitted.prior, self.prior)  # of a large network, 200 MB and more
                self._saved = fitted.prior

    def read(self, header: dict[str, Any], measures: tuple[str, ...], report: Report) -> Result:
        """Earlier measurements of the same model and images.

        Args:
            header: what the numbers to come begin with.
            measures: names of what is to be measured now.
            report: hears of a model that has changed.

        Raises:
            RunError: the files can't be read, or what stays was measured with other settings.
        """
        if not self.numbers.exists():
            return Result()
        try:
            numbers = read_json(self.numbers)
            per_image = read_tensors(self.per_image, MAX_TENSOR_BYTES)
            pictures = read_tensors(self.pictures, MAX_TENSOR_BYTES)
            for key in ("seconds", "settings"):
                if not isinstance(numbers.get(key, {}), dict):
                    raise RunError(f"{key!r} must be an object; received {quoted(numbers[key])}.")
        except RunError as error:
            raise RunError(f"What was measured before can't be read: {error} {_ADVICE}") from error
        # Nothing can be kept of another model, not even with the same settings.
        if numbers.get("model") != header["model"]:
            report("the model has changed since it was measured: all is measured again")
            return Result()
        kept = [name for name in numbers.get("seconds", {}) if name not in measures]
        then, now = numbers.get("settings", {}), header["settings"]
        known = [MEASURES.get(name) for name in kept if name in MEASURES]
        # Only settings of measures that stay can contradict; the others are measured now.
        relevant = {option for measure in known for option in measure.model_fields}
        changed = [
            f"{name}: {then[name]} → {now[name]}"
            for name in now
            # A setting that the old numbers don't name was not there then, so nothing contradicts
            # it.
            if name in relevant and then.get(name, now[name]) != now[name]
        ]
        if kept and numbers.get("seed") != header["seed"]:
            changed.insert(0, f"seed: {numbers.get('seed')} → {header['seed']}")
        if changed:
            raise RunError(
                f"{self.numbers} was measured with other settings ({'; '.join(changed)}). Ask for "
                f"the same. {_ADVICE}"
            )
        return Result(numbers, per_image, pictures)
