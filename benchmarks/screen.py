"""`python -m benchmarks.screen`: a quick look at settings of a GNCN, on validation images.

Trains one network and measures what choosing settings needs, sooner than `gncn evaluate`: BCE
and sparsity; log p(x) with the training images' codes as the prior; the linear probe on φ(z) of
the top layer at three values of C, the best shown; M-MSE by every way of completing.

2,000 validation images tell errors of 2.5 % from 3 % at best.  So where there are many training
images, the probe learns from all but the last 8,000 of them, which the network has seen but the
probe hasn't, and a second error counts these, too.

Results are appended to a JSON file, one entry for each call.
"""

import json
from pathlib import Path
from typing import Annotated, Any

import jax.numpy as jnp
import numpy as np
import typer
from rich.console import Console

from gncn.base.files import write_atomic
from gncn.evaluation.completion import visible_pixels
from gncn.evaluation.measure import measure_completion, measure_likelihood
from gncn.evaluation.probe import fit_probe
from gncn.evaluation.recall import EmpiricalPrior
from gncn.evaluation.subject import Subject, as_measurable
from gncn.figures.drawing import image_shape
from gncn.runs.config import load_config
from gncn.runs.train import train
from gncn.study.objective import development_data

REGULARISATION = (0.01, 0.03, 0.1)
N_HELD_BACK = 8000


def probe_errors(subject: Subject) -> dict[str, float]:
    """Error in % on validation images, and on these and training images held back."""
    layer, data = subject.n_layers, subject.data
    codes, held_out = (
        subject.model.activities(layer, subject.codes(split)) for split in ("train", "validation")
    )
    labels, known = data.train.labels, data.validation.labels
    assert labels is not None
    assert known is not None
    first = len(codes) - (N_HELD_BACK if len(codes) >= 2 * N_HELD_BACK else 0)
    errors = []
    for strength in REGULARISATION:
        probe = fit_probe(
            codes[:first],
            labels[:first],
            held_out,
            known,
            regularisation=[strength],
            max_iterations=100,
        )
        wrong = probe.predict(held_out) != known
        more = np.concatenate([wrong, probe.predict(codes[first:]) != labels[first:]])
        errors.append((100 * float(wrong.mean()), 100 * float(more.mean())))
    validation, both = (min(one) for one in zip(*errors, strict=True))
    found = {"probe_error_percent": validation}
    return found if first == len(codes) else found | {"and_of_training_images_held_back": both}


def screen(preset: str, settings: list[str]) -> dict[str, Any]:
    """Train with some settings and measure."""
    config = load_config(preset=preset, overrides=settings)
    data = development_data(config)
    fit = train(config, data)
    seen = fit.kept[0].validation
    subject = Subject(as_measurable(fit.network), data, "validation")
    codes = subject.codes("train")
    visible = visible_pixels("right", image_shape(data.n_pixels, data.image_shape))
    ways = subject.model.completers(codes, data.train.array, visible)
    completed = measure_completion(subject, ways, visible)["ways"]
    likelihood = measure_likelihood(subject, EmpiricalPrior(jnp.asarray(codes)), curve=(5000,))
    return {
        "preset": preset,
        "settings": settings,
        "n_synapses": config.n_synapses(data),
        "validation": {
            "bce": seen.error,
            "sparsity": seen.sparsity,
            "log_likelihood_S_5000_from_training_codes": likelihood["mean"],
            **probe_errors(subject),
            "m_mse_right_half": {way: score["m_mse"] for way, score in completed.items()},
        },
    }


def main(
    preset: Annotated[str, typer.Option(help="Where settings start from.")] = "mnist",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="SECTION.OPTION=VALUE; may be repeated.")
    ] = None,
    out: Annotated[Path, typer.Option(help="JSON file to append to.")] = Path("runs/screen.json"),
) -> None:
    """Train one network and measure it on validation images."""
    found = screen(preset, settings or [])
    entries = json.loads(out.read_text()) if out.exists() else []
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, json.dumps([*entries, found], indent=1) + "\n")
    Console().print_json(data=found)


if __name__ == "__main__":
    typer.run(main)
