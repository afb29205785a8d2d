"""Small baselines: random ones for arithmetic, trained ones for what training must bring."""

import dataclasses
import functools

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn.baselines.blueprint import plan_blueprint
from gncn.baselines.kinds import start_baseline
from gncn.training.epochs import Batch

OPTIONS = {
    "rae": {"n_latent": 3},
    "gvae": {"n_latent": 3},
    "gvae-cv": {"n_latent": 3, "variance": 0.3},
    "gan-ae": {"n_latent": 3},
    "dsrn": {"n_classes": 4},
}


@pytest.fixture
def small():
    """A function that makes a small model of 6 pixels, with biases that are not 0."""

    def make(kind: str, *, seed: int = 0, **options: float):
        blueprint = plan_blueprint(kind, 6, budget=220, **OPTIONS[kind], **options)
        model = start_baseline(blueprint, seed=seed)
        rng = np.random.default_rng(seed)
        for part in blueprint.parts:
            biases = [
                jnp.asarray(rng.normal(size=b.shape), jnp.float32)
                for b in getattr(model, part).biases
            ]
            model = eqx.tree_at(lambda m, p=part: getattr(m, p).biases, model, tuple(biases))
        return model

    return make


@pytest.fixture
def batch() -> Batch:
    """Five images, the last a filler."""
    rng = np.random.default_rng(1)
    return Batch(
        jnp.asarray(rng.integers(0, 2, (5, 6)), jnp.float32),
        jnp.asarray([1.0, 1.0, 1.0, 1.0, 0.0]),
        jnp.asarray([0, 3, 1, 2, 0]),
    )


@pytest.fixture(scope="session")
def digits() -> gncn.Dataset:
    """Scikit-learn's digits, with as many for testing as for validation: one shape to compile."""
    data = gncn.load_dataset("digits")
    test = data.test.subset(np.arange(len(data.validation)))
    return dataclasses.replace(data, test=test)


@pytest.fixture(scope="session")
def trained(digits):
    """A function that gives an autoencoder after a short training on the digits."""

    @functools.cache
    def train(kind: str) -> gncn.Fit:
        config = gncn.Config(
            model=kind,
            backprop={"budget": 20_000, "n_latent": 4},
            training={"n_epochs": 25, "batch_size": 50, "learning_rate": 3e-3},
        )
        return gncn.fit(config.models(digits), digits, config.training)

    return train
