"""The library from end to end, small: a script that tests run in many environments.

It prints numbers as JSON.  ``python environments.py FOLDER`` also saves its network there, or
loads the one that it finds.
"""

import json
import sys
import warnings
from pathlib import Path

import jax
import numpy as np

import gncn
from gncn.baselines.blueprint import plan_blueprint
from gncn.baselines.kinds import start_baseline
from gncn.measures import Subject, as_measurable, make_measures

SETTINGS = {"n_components": (2,), "n_samples": 100, "n_repeats": 1, "curve": (), "missing": "right"}


def run(data, measures=("likelihood", "sparsity")):
    """Build, settle, fit and measure a network and a baseline."""
    circuit = gncn.chain((64, 8, 8), competition="columns", group_size=4, precision="full")
    network = gncn.build(circuit, seed=1, n_settle_steps=5)
    images = data.test.array[:20].astype(np.float32)
    settled = gncn.settle(network, images)
    plan = gncn.TrainingConfig(n_epochs=2, batch_size=50)
    fit = gncn.fit(network, data, plan, seeds=3)
    blueprint = plan_blueprint("gvae", 64, budget=2000, n_latent=4)
    baseline = gncn.fit(start_baseline(blueprint, seed=1), data, plan)
    subject = Subject(as_measurable(fit.network), data, "validation")
    found = {}
    for name, measure in make_measures(measures, SETTINGS).items():
        found[name] = [*_numbers(measure.measure(subject).numbers)]
    return fit.network, {
        "settle": [float(np.mean(np.abs(z))) for z in settled.latents],
        "fit": [record.validation.error for record in fit.history],
        "baseline": [record.validation.error for record in baseline.history],
        "types": sorted({str(leaf.dtype) for leaf in jax.tree.leaves(fit.network)}),
        **found,
    }


def _numbers(tree):
    if isinstance(tree, dict):
        tree = tree.values()
    if isinstance(tree, float):
        yield tree
    elif not isinstance(tree, str | int | None):
        for one in tree:
            yield from _numbers(one)


def small():
    """A few of scikit-learn's digits."""
    data = gncn.load_dataset("digits")
    splits = (
        split.subset(np.arange(n)) for split, n in zip(data.splits, (120, 40, 40), strict=True)
    )
    return gncn.Dataset("small", *splits, data.image_shape, data.n_classes, "", "")


def main():
    """Print what `run` finds."""
    warnings.simplefilter("ignore")
    data = small()
    network, found = run(data)
    if sys.argv[1:]:
        folder = Path(sys.argv[1])
        if folder.exists():
            loaded = gncn.load(folder)
            pairs = zip(jax.tree.leaves(network), jax.tree.leaves(loaded), strict=True)
            found["loaded"] = max(float(np.max(np.abs(a - b))) for a, b in pairs)
        gncn.save(network, folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
