"""Baselines by name: fresh ones from a blueprint and a seed."""

import jax

from gncn.baselines.adversarial import GANAE
from gncn.baselines.autoencoder import RAE, Autoencoder
from gncn.baselines.blueprint import Blueprint, Kind
from gncn.baselines.classifier import DSRN
from gncn.baselines.dense import start_dense
from gncn.baselines.variational import GVAE, ConstantVarianceGVAE

Baseline = Autoencoder | DSRN
"""A baseline that is trained by backprop."""

CLASSES: dict[Kind, type[Baseline]] = {
    "rae": RAE,
    "gvae": GVAE,
    "gvae-cv": ConstantVarianceGVAE,
    "gan-ae": GANAE,
    "dsrn": DSRN,
}


def start_baseline(blueprint: Blueprint, *, seed: int, weight_scale: float = 1.0) -> Baseline:
    """Make a baseline with random weights.

    Args:
        blueprint: its kind and sizes.
        seed: of the weights.
        weight_scale: of the weights; see `start_dense`.

    Returns:
        The model.
    """
    keys = jax.random.split(jax.random.key(seed), len(blueprint.parts))
    parts = {
        name: start_dense(sizes, key, weight_scale)
        for key, (name, sizes) in zip(keys, blueprint.parts.items(), strict=True)
    }
    return CLASSES[blueprint.kind](blueprint=blueprint, **parts)
