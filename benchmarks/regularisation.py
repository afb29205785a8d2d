"""What the regularisation of the mixture prior changes in log p(x): results/regularisation.json.

Run with ``python -m benchmarks.regularisation``; some ten minutes.  Each model learns CalTech
Silhouettes with the settings in the record.  For a model that the record lacks, they are what the
search chose.  Then priors are fitted to its codes that differ in the regularisation alone, as a
share of the codes' variance, and log p(x) of validation images is estimated by each.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from benchmarks.document import put
from benchmarks.machine import write
from benchmarks.searched import TITLES
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.mixture_fit import fit_mixture
from gncn.evaluation.protocols import WithPrior
from gncn.measures import subject as measuring
from gncn.measures.models import as_measurable
from gncn.measures.subject import Subject
from gncn.runs.config import Config, load_config
from gncn.runs.train import train
from gncn.study.columns import development_data
from gncn.study.rows import number

DATA, RECORD = "caltech-16", Path("results/regularisation.json")
MODELS = ("gncn", "gncn-paper", "gvae", "gvae-cv", "gan-ae", "rae")
SHARES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
N_SAMPLES, N_COMPONENTS = (5000, 100_000), 65


def recorded() -> dict[str, Any]:
    """What is known of each model; empty if there is no record."""
    return json.loads(RECORD.read_text(encoding="utf-8"))["models"] if RECORD.exists() else {}


def settings_of(model: str, known: dict[str, Any]) -> dict[str, Any]:
    """The settings by which a model learns, as TOML has them; `known` is from `recorded`."""
    if model in known:
        return known[model]["settings"]
    chosen = load_config(file=f"results/search/paper/{DATA}-{model}-best.toml")
    return tomllib.loads(chosen.to_toml())


def measured(settings: dict[str, Any], model: str) -> dict[str, Any]:
    """Log p(x) of validation images in nats, by the share and S."""
    config = Config(**settings)
    data = development_data(config)
    network = train(config, data).network
    subject = Subject(as_measurable(network), data, "validation", report=lambda _: None)
    codes, images = subject.codes("train"), subject.target.array
    variance = float(np.mean(np.var(codes, axis=0, dtype=np.float64)))
    found = {}
    for share in SHARES:
        prior = fit_mixture(codes, N_COMPONENTS, regularisation=share * variance).mixture
        joint = WithPrior(subject.model.decoder, prior)
        estimate = prior_log_likelihood(joint, images, key=subject.key(0), n_samples=N_SAMPLES)
        density = float(jnp.mean(prior.log_prob(jnp.asarray(subject.codes("validation")))))
        by_size = dict(zip(map(str, N_SAMPLES), estimate.mean.tolist(), strict=True))
        found[str(share)] = {"log_likelihood": by_size, "density_of_validation_codes": density}
        print(model, share, by_size, density, flush=True)
    return {"settings": settings, "variance": variance, "shares": found}


def markdown() -> str:
    """The recorded log p(x) as a table, for each S and share; the best of each column is bold."""
    models = recorded()
    columns = [(str(size), str(share)) for size in N_SAMPLES for share in SHARES]
    found = {
        model: [one["shares"][share]["log_likelihood"][size] for size, share in columns]
        for model, one in models.items()
    }
    best = [max(values) for values in zip(*found.values(), strict=True)]
    headings = [f"{share}, S = {int(size):,}" for size, share in columns]
    lines = [f"| share | {' | '.join(headings)} |", "|---" * (len(headings) + 1) + "|"]
    for model, values in found.items():
        cells = [
            f"**{number(one)}**" if one == top else number(one)
            for one, top in zip(values, best, strict=True)
        ]
        lines.append(f"| {TITLES[model]} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure all models, and keep the numbers after each."""
    about = f"Regularisation of the mixture prior on {DATA}, validation images, one seed."
    models, known = {}, recorded()
    settings = {model: settings_of(model, known) for model in MODELS}
    for model in MODELS:
        models[model] = measured(settings[model], model)
        record = {"about": about, "used": measuring.REGULARISATION, "models": models}
        write(RECORD, json.dumps(record, indent=1) + "\n")
    put(Path("docs/likelihood.md"), "regularisation", markdown())


if __name__ == "__main__":
    main()
