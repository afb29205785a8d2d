"""`assess`: all measurements of a run, their figures, and the files that hold them.

================================  ====================================================
file in the run folder            content
================================  ====================================================
``metrics-SPLIT.json``            every number; of trial K, ``metrics-SPLIT-K.json``
``per-image-SPLIT.safetensors``   log p(x) and squared errors of completion
``pictures-SPLIT.safetensors``    what figures show: samples, completions, laid-out codes
``trials/K/prior.safetensors``    the mixture prior (`gncn.runs.serialise.load_mixture`)
``figures/``                      PNGs
================================  ====================================================

Among the numbers are the ``seconds`` of each measurement; those of codes and prior belong to
the first that needs them.  Files are written after each measurement.  Measured again with the
same model, images and settings, a run's numbers are added to: what isn't measured anew stays.
"""

import json
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from gncn.base.errors import ConfigError, RunError, unknown_choice
from gncn.base.files import read_json, write_atomic
from gncn.baselines.autoencoder import Autoencoder
from gncn.core.network import Network
from gncn.data import Dataset
from gncn.data.reading import read_npy
from gncn.evaluation.completion import complete_in_ways, visible_pixels
from gncn.evaluation.embedding import embed
from gncn.evaluation.measure import (
    fit_prior,
    measure_completion,
    measure_likelihood,
    measure_probe,
    measure_sparsity,
    measure_tight_likelihood,
    measure_yardsticks,
)
from gncn.evaluation.mixture import COVARIANCES
from gncn.evaluation.names import MEASURES
from gncn.evaluation.neighbours import nearest_images
from gncn.evaluation.protocols import Prior
from gncn.evaluation.recall import EmpiricalPrior
from gncn.evaluation.sparsity import ACTIVE
from gncn.evaluation.subject import Measurable, Report, Subject, as_measurable
from gncn.figures.drawing import image_shape
from gncn.figures.evaluation import (
    draw_activity,
    draw_completions,
    draw_confusion,
    draw_embedding,
    draw_likelihood_curve,
    draw_samples,
)
from gncn.runs.folder import RunFolder
from gncn.runs.pictures import mean_statistics
from gncn.runs.serialise import save_mixture


@dataclass(frozen=True)
class Choices:
    """What to measure and how.

    Attributes:
        only: names from `MEASURES`; all if None.
        n_components: of the mixture; validation chooses among several.
        covariance: of the mixture.
        n_samples: S.
        missing: which pixels to complete; see `visible_pixels`, or a .npy file.
        probe_layers: latent layers to probe, 1..L; the top one if empty.
    """

    only: tuple[str, ...] | None = None
    n_components: tuple[int, ...] = (65,)
    covariance: str = "full"
    n_samples: int = 5000
    missing: str = "right"
    probe_layers: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name in self.only or ():
            if name not in MEASURES:
                raise unknown_choice("measure", name, MEASURES)
        if self.covariance not in COVARIANCES:
            raise unknown_choice("covariance", self.covariance, COVARIANCES)
        if not self.n_components or min(self.n_components) < 1:
            raise ConfigError(
                f"n_components must be one or more positive numbers; received {self.n_components}."
            )
        if self.n_samples < 1:
            raise ConfigError(f"n_samples must be positive; received {self.n_samples}.")


def assess(
    folder: RunFolder,
    data: Dataset,
    *,
    split: str,
    choices: Choices = Choices(),
    seed: int = 0,
    trial: int = 0,
    replace: bool = False,
    report: Report = lambda _: None,
) -> tuple[dict[str, Any], list[Path]]:
    """Measure a model of a run and write numbers and figures to its folder.

    Args:
        folder: the run.
        data: its data.
        split: images to report on.
        choices: what to measure and how.
        seed: of all that is random.
        trial: number of the model in the run.
        replace: drop what was measured before with another seed or settings.
        report: told what is being done.

    Returns:
        The numbers, and the paths of the figures.

    Raises:
        ConfigError: an option is unknown or doesn't apply to this model or these data.
        RunError: the run was measured with another seed or settings, or the numbers can't
            be read, and `replace` is false.
    """
    model = folder.model(trial)
    measurable = as_measurable(model)
    measures = _measures(choices, measurable, folder.config.model, data)
    mask = _mask(choices.missing, image_shape(data.n_pixels, data.image_shape))
    subject = Subject(measurable, data, split, seed, report)
    if "probe" in measures:
        for layer in choices.probe_layers:
            subject.check_layer(layer)
    metrics: dict[str, Any] = {
        "split": split,
        "n_images": len(subject.target),
        "trial": trial,
        "seed": seed,
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "model": folder.model_digest(trial),
        "settings": {
            "n_components": list(choices.n_components),
            "covariance": choices.covariance,
            "n_samples": choices.n_samples,
        },
    }
    which = split if trial == 0 else f"{split}-{trial}"
    numbers = folder.path / f"metrics-{which}.json"
    arrays = folder.path / f"per-image-{which}.safetensors"
    shown = folder.path / f"pictures-{which}.safetensors"
    earlier, per_image, pictures = (
        ({}, {}, {}) if replace else _measured_before(numbers, (arrays, shown), metrics, report)
    )
    metrics = earlier | metrics
    if isinstance(model, Network | Autoencoder):
        metrics["bce"] = mean_statistics(model, subject.target, folder.config).error
    assessment = _Assessment(folder, subject, choices, mask, trial, metrics, per_image, pictures)
    figures: list[Path] = []
    took = metrics.setdefault("seconds", {})
    for name in measures:
        began = time.perf_counter()
        drawn = getattr(assessment, name)()
        took[name] = time.perf_counter() - began
        figures.extend(path for path in drawn if path not in figures)
        write_atomic(arrays, save_tensors(assessment.per_image))
        write_atomic(shown, save_tensors(assessment.pictures))
        write_atomic(numbers, json.dumps(metrics, indent=2) + "\n")
    return metrics, figures


def _measures(
    choices: Choices, measurable: Measurable, kind: str, data: Dataset
) -> tuple[str, ...]:
    """What is to be measured: what was asked for, or else all that can be."""
    possible = measurable.measures
    for name in choices.only or ():
        if name not in possible:
            raise ConfigError(
                f"{name!r} can't be measured of the model {kind!r}; what can is "
                f"{', '.join(possible)}."
            )
    if data.n_classes is None:
        if "probe" in (choices.only or ()):
            raise ConfigError(f"A probe needs labels, and the data {data.name!r} have none.")
        possible = tuple(name for name in possible if name != "probe")
    return choices.only or possible


def _measured_before(
    numbers: Path, arrays: tuple[Path, Path], header: dict[str, Any], report: Report
) -> tuple[dict[str, Any], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What was measured before of the same model and images, to be added to."""
    if not numbers.exists():
        return {}, {}, {}
    advice = "Give --replace (replace=True) to measure anew and drop what is there."
    try:
        earlier = read_json(numbers)
        per_image, pictures = (load_tensors(path.read_bytes()) for path in arrays)
    except (OSError, SafetensorError, RunError) as error:
        raise RunError(f"What was measured before can't be read: {error} {advice}") from error
    if earlier.get("model") != header["model"]:
        report("the model has changed since it was measured: all is measured anew")
        return {}, {}, {}
    then, now = ({"seed": h.get("seed")} | (h.get("settings") or {}) for h in (earlier, header))
    if changed := [f"{k}: {then.get(k)} → {v}" for k, v in now.items() if then.get(k) != v]:
        raise RunError(
            f"{numbers} was measured with other settings ({'; '.join(changed)}). Ask for the same. "
            f"{advice}"
        )
    return earlier, per_image, pictures


@dataclass(frozen=True)
class _Assessment:
    """One measurement a method: puts numbers into `metrics` and returns its figures.

    What figures show, beside numbers, goes into `pictures`.
    """

    folder: RunFolder
    subject: Subject
    choices: Choices
    mask: str | Bool[np.ndarray, "..."]
    trial: int
    metrics: dict[str, Any]
    per_image: dict[str, np.ndarray]
    pictures: dict[str, np.ndarray]

    @cached_property
    def prior(self) -> Prior:
        """The model's own if it was fitted with one; else a mixture, fitted and saved."""
        if (given := self.subject.model.fitted_prior) is not None:
            return given
        several = self.choices.n_components
        fit, self.metrics["prior"] = fit_prior(
            self.subject,
            n_components=several[0] if len(several) == 1 else several,
            covariance=self.choices.covariance,
        )
        save_mixture(fit.mixture, self.folder.prior_path(self.trial))
        return fit.mixture

    @property
    def shape(self) -> tuple[int, int]:
        data = self.subject.data
        return image_shape(data.n_pixels, data.image_shape)

    def likelihood(self) -> list[Path]:
        n_samples = self.choices.n_samples
        found = measure_likelihood(self.subject, self.prior, n_samples=n_samples)
        self.per_image["log_likelihood"] = found.pop("per_image")
        if (own := self.subject.model.own_prior) is not None:
            with_own = measure_likelihood(self.subject, own, n_samples=n_samples)
            self.per_image["log_likelihood_own_prior"] = with_own.pop("per_image")
            self.metrics["likelihood_own_prior"] = with_own
        if self.subject.model.fitted_prior is None:
            codes = EmpiricalPrior(jnp.asarray(self.subject.codes("train")))
            remembered = measure_likelihood(self.subject, codes, n_samples=n_samples)
            self.per_image["log_likelihood_training_codes"] = remembered.pop("per_image")
            self.metrics["likelihood_training_codes"] = remembered
        self.metrics["likelihood"] = found
        return [self._curve()]

    def tight(self) -> list[Path]:
        self.metrics["tight"] = measure_tight_likelihood(self.subject, self.prior)
        return [self._curve()] if "likelihood" in self.metrics else []

    def _curve(self) -> Path:
        curve, tight = self.metrics["likelihood"]["curve"], self.metrics.get("tight")
        return draw_likelihood_curve(
            self.folder.figure("likelihood"),
            curve["n_samples"],
            curve["mean"],
            curve["standard_error"],
            tight["mean"] if tight else None,
            tight["same_images_at_S_5000"] if tight else None,
        )

    def samples(self) -> list[Path]:
        """Sample; compare the distance to training images with that of held-out images."""
        subject = self.subject
        subject.report("sampling, and searching the nearest training images")
        codes = self.prior.sample(subject.key(6), 100)
        means = np.asarray(jax.nn.sigmoid(subject.model.decoder.decode(codes)))
        uniform = np.random.default_rng(subject.seed).uniform(size=means.shape)
        drawn = (uniform < means).astype(np.uint8)
        train = subject.data.train.array
        nearest = nearest_images(train, drawn)
        held_out = nearest_images(train, subject.target.array[:100])
        self.metrics["samples"] = {
            "n": len(means),
            "distance_to_nearest_training_image": float(nearest.distances.mean()),
            "the_same_for_held_out_images": float(held_out.distances.mean()),
            "note": "Euclidean, of binary draws; a model that copies is much nearer than held-out "
            "images are.",
        }
        self.pictures["samples"] = means
        figure = self.folder.figure("samples")
        pictures = {
            "Samples (means)": means,
            "Drawn from them": drawn,
            "The training image nearest to each draw": train[nearest.indices[:, 0]],
        }
        return [draw_samples(figure, pictures, self.shape)]

    def completion(self) -> list[Path]:
        subject, visible = self.subject, self.visible
        subject.report("learning to complete images")
        train = subject.data.train.array
        ways = subject.model.completers(subject.codes("train"), train, visible)
        found = measure_completion(subject, ways, visible)
        found["missing"] = self.missing
        for way, score in found["ways"].items():
            self.per_image[f"squared_error_{way}"] = score.pop("per_image")
        self.metrics["completion"] = found
        shown = subject.target.array[:12]
        completed = complete_in_ways(ways, shown, visible)
        self.pictures["visible"] = visible
        self.pictures["whole"] = shown
        self.pictures.update({f"completed_{way}": images for way, images in completed.items()})
        figure = self.folder.figure("completions")
        return [draw_completions(figure, shown, visible, completed, self.shape)]

    def yardsticks(self) -> list[Path]:
        found = measure_yardsticks(self.subject, self.visible)
        self.metrics["yardsticks"] = found | {"missing": self.missing}
        return []

    @cached_property
    def visible(self) -> Bool[np.ndarray, " pixels"]:
        """Which pixels are seen by what completes images."""
        return visible_pixels(self.mask, self.shape, seed=self.subject.seed)

    @property
    def missing(self) -> str:
        """What is missing, in words."""
        return self.mask if isinstance(self.mask, str) else "a mask"

    def probe(self) -> list[Path]:
        """Probe the layers chosen; the figure is of the topmost of them."""
        layers = self.choices.probe_layers or (self.subject.n_layers,)
        self.metrics["probe"] = [measure_probe(self.subject, layer=layer)[0] for layer in layers]
        top = max(self.metrics["probe"], key=lambda one: one["layer"])
        best = top[top["better_on_validation"]]
        figure = self.folder.figure("confusion")
        return [draw_confusion(figure, np.array(best["confusion"]), best["error_percent"])]

    def sparsity(self) -> list[Path]:
        """Measure it, and draw how often each neuron is active."""
        subject = self.subject
        self.metrics["sparsity"] = measure_sparsity(subject)
        shares = [(states > ACTIVE).mean(axis=0) for states in subject.states[subject.split]]
        figure = self.folder.figure("activity")
        return [draw_activity(figure, shares, subject.model.group_sizes())]

    def embedding(self) -> list[Path]:
        subject = self.subject
        subject.report("laying out codes by t-SNE")
        codes = subject.codes(subject.split)
        layout = embed(codes, perplexity=min(30.0, (len(codes) - 1) / 3), seed=subject.seed)
        labels = subject.target.labels
        chosen = None if labels is None else labels[layout.indices]
        self.pictures["embedding"] = layout.positions
        if chosen is not None:
            self.pictures["embedding_labels"] = chosen
        return [draw_embedding(self.folder.figure("embedding"), layout.positions, chosen)]


def _mask(missing: str, shape: tuple[int, int]) -> str | np.ndarray:
    if not missing.endswith(".npy"):
        visible_pixels(missing, shape)
        return missing
    mask = read_npy(Path(missing))
    if mask.dtype != bool:
        raise ConfigError(f"The mask {missing} must hold booleans; received {mask.dtype}.")
    visible_pixels(mask, shape)
    return mask
