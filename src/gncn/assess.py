"""`assess`: all measurements of a run, their figures and ``metrics-SPLIT.json``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from safetensors.numpy import save as save_tensors

from gncn.data import Dataset
from gncn.errors import ConfigError, DataError, unknown_choice
from gncn.evaluation.completion import complete, visible_pixels
from gncn.evaluation.embedding import embed
from gncn.evaluation.mixture import Mixture
from gncn.evaluation.neighbours import nearest_images
from gncn.evaluation_figures import (
    draw_completions,
    draw_confusion,
    draw_embedding,
    draw_likelihood_curve,
    draw_samples,
)
from gncn.figures import image_shape
from gncn.files import write_atomic
from gncn.inference import decode
from gncn.measure import (
    Report,
    Subject,
    completers,
    fit_prior,
    measure_completion,
    measure_likelihood,
    measure_probe,
    measure_sparsity,
    measure_tight_likelihood,
)
from gncn.network import Network
from gncn.report import mean_statistics
from gncn.runs import RunFolder

MEASURES = ("likelihood", "tight", "samples", "completion", "probe", "sparsity", "embedding")
NEED_PRIOR = {"likelihood", "tight", "samples", "completion"}


def assess(
    folder: RunFolder,
    network: Network,
    data: Dataset,
    *,
    split: str,
    only: Sequence[str] | None = None,
    n_components: tuple[int, ...] = (65,),
    covariance: str = "full",
    n_samples: int = 5000,
    missing: str = "right",
    seed: int = 0,
    trial: int = 0,
    report: Report = lambda _: None,
) -> tuple[dict[str, Any], list[Path]]:
    """Measure a network of a run and write numbers and figures to its folder.

    Args:
        folder: the run.
        network: one of its networks.
        data: its data.
        split: images to report on.
        only: names from `MEASURES`; all if None.
        n_components: of the mixture; validation chooses among several.
        covariance: of the mixture.
        n_samples: S.
        missing: which pixels to complete; see `visible_pixels`, or a .npy file.
        seed: of all that is random.
        trial: number of the network in the run.
        report: told what is being done.

    Returns:
        The numbers, and the paths of the figures.

    Raises:
        ConfigError: an option is unknown or doesn't apply to these data.
    """
    chosen = tuple(only) if only else MEASURES
    for name in chosen:
        if name not in MEASURES:
            raise unknown_choice("measure", name, MEASURES)
    mask = _mask(missing, image_shape(data.n_pixels, data.image_shape))
    subject = Subject(network, data, split, seed, report)
    metrics: dict[str, Any] = {
        "split": split,
        "n_images": len(subject.target),
        "trial": trial,
        "seed": seed,
        "data": {"name": data.name, "fingerprint": data.fingerprint},
        "bce": mean_statistics(network, subject.target, folder.config).error,
    }
    figures: list[Path] = []
    prior: Mixture | None = None
    if NEED_PRIOR & set(chosen):
        single = n_components[0] if len(n_components) == 1 else n_components
        fit, metrics["prior"] = fit_prior(subject, n_components=single, covariance=covariance)
        prior = fit.mixture
        _save_prior(folder, trial, prior)
    for name in chosen:
        drawn = _measure(name, subject, prior, folder, metrics, n_samples, mask)
        figures.extend(path for path in drawn if path not in figures)
    write_atomic(folder.path / f"metrics-{split}.json", json.dumps(metrics, indent=2) + "\n")
    return metrics, figures


def _measure(
    name: str,
    subject: Subject,
    prior: Mixture | None,
    folder: RunFolder,
    metrics: dict[str, Any],
    n_samples: int,
    mask: str | np.ndarray,
) -> list[Path]:
    """Make one measurement; put its numbers into `metrics` and return its figures."""
    data = subject.data
    shape = image_shape(data.n_pixels, data.image_shape)
    if name == "sparsity":
        metrics[name] = measure_sparsity(subject)
        return []
    if name == "probe":
        metrics[name], _ = measure_probe(subject)
        best = metrics[name][metrics[name]["better_on_validation"]]
        figure = draw_confusion(
            folder.figure("confusion"), np.array(best["confusion"]), best["error_percent"]
        )
        return [figure]
    if name == "embedding":
        subject.report("laying out codes by t-SNE")
        codes = subject.top(subject.split)
        layout = embed(codes, perplexity=min(30.0, (len(codes) - 1) / 3), seed=subject.seed)
        labels = subject.target.labels
        chosen = None if labels is None else labels[layout.indices]
        return [draw_embedding(folder.figure("embedding"), layout.positions, chosen)]
    assert prior is not None
    if name == "likelihood":
        metrics[name] = measure_likelihood(subject, prior, n_samples=n_samples)
        return [_draw_curve(folder, metrics)]
    if name == "tight":
        metrics[name] = measure_tight_likelihood(subject, prior)
        return [_draw_curve(folder, metrics)] if "likelihood" in metrics else []
    if name == "samples":
        return [_draw_samples(subject, prior, folder, metrics, shape)]
    metrics[name] = measure_completion(subject, prior, missing=mask)
    visible = visible_pixels(mask, shape, seed=subject.seed)
    shown = subject.target.images[:12]
    completed = {
        way: complete(completer, shown, visible)
        for way, completer in completers(subject, prior).items()
    }
    return [draw_completions(folder.figure("completions"), shown, visible, completed, shape)]


def _draw_curve(folder: RunFolder, metrics: dict[str, Any]) -> Path:
    curve, tight = metrics["likelihood"]["curve"], metrics.get("tight")
    return draw_likelihood_curve(
        folder.figure("likelihood"),
        curve["n_samples"],
        curve["mean"],
        curve["standard_error"],
        tight["mean"] if tight else None,
        tight["same_images_at_S_5000"] if tight else None,
    )


def _draw_samples(
    subject: Subject,
    prior: Mixture,
    folder: RunFolder,
    metrics: dict[str, Any],
    shape: tuple[int, int],
) -> Path:
    """Sample; compare the distance to training images with that of held-out images."""
    subject.report("sampling, and searching the nearest training images")
    key = subject.key(6)
    means = np.asarray(jax.nn.sigmoid(decode(subject.network, prior.sample(key, 100))))
    drawn = (np.random.default_rng(subject.seed).uniform(size=means.shape) < means).astype(np.uint8)
    train = subject.data.train.images
    nearest = nearest_images(train, drawn)
    held_out = nearest_images(train, subject.target.images[:100])
    metrics["samples"] = {
        "n": len(means),
        "distance_to_nearest_training_image": float(nearest.distances.mean()),
        "the_same_for_held_out_images": float(held_out.distances.mean()),
        "note": "Euclidean, of binary draws; a model that copies is much nearer than held-out "
        "images are.",
    }
    return draw_samples(folder.figure("samples"), means, train[nearest.indices[:, 0]], shape)


def _mask(missing: str, shape: tuple[int, int]) -> str | np.ndarray:
    if not missing.endswith(".npy"):
        visible_pixels(missing, shape)
        return missing
    try:
        mask = np.load(missing, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DataError(f"Can't read the mask {missing}: {error}") from error
    if mask.dtype != bool:
        raise ConfigError(f"The mask {missing} must hold booleans; received {mask.dtype}.")
    visible_pixels(mask, shape)
    return mask


def _save_prior(folder: RunFolder, trial: int, prior: Mixture) -> None:
    arrays = {
        name: np.ascontiguousarray(getattr(prior, name))
        for name in ("logits", "means", "whitening")
    }
    content = save_tensors(arrays, metadata={"covariance": prior.covariance})
    write_atomic(folder.path / "trials" / str(trial) / "prior.safetensors", content)
