"""Synapse budgets, and what a blueprint refuses."""

from itertools import pairwise

import equinox as eqx
import jax
import numpy as np
import pytest

import gncn
from gncn.base.errors import ConfigError
from gncn.baselines.baseline import start_dense
from gncn.baselines.blueprint import KINDS, Blueprint, plan_blueprint
from gncn.baselines.kinds import start_baseline

OPTIONS = {kind: {"n_latent": 20} for kind in KINDS} | {"dsrn": {"n_classes": 10}}
OPTIONS["gvae-cv"] = {"n_latent": 20, "variance": 0.1}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("budget", [1_400_000, 20_011])
def test_hidden_layers_are_as_wide_as_the_budget_allows(kind, budget):
    blueprint = plan_blueprint(kind, 64, budget=budget, **OPTIONS[kind])
    model = eqx.filter_eval_shape(lambda: start_baseline(blueprint, seed=0))
    count = sum(leaf.size for leaf in jax.tree.leaves(model))
    assert count == blueprint.n_synapses <= budget
    wider = blueprint.model_copy(update={"hidden": blueprint.hidden + 1})
    assert wider.n_synapses > budget
    for name, sizes in blueprint.parts.items():
        shapes = [w.shape for w in getattr(model, name).weights]
        assert shapes == list(pairwise(sizes))
        assert len(sizes) == 4


def test_the_discriminator_counts():
    plain = plan_blueprint("gvae", 784, n_latent=20)
    adversarial = plan_blueprint("gan-ae", 784, n_latent=20)
    assert adversarial.hidden < plain.hidden
    assert adversarial.parts["discriminator"] == (20, adversarial.hidden, adversarial.hidden, 1)


def test_a_budget_too_small_says_what_is_needed():
    least = Blueprint(kind="rae", n_pixels=64, hidden=1, n_latent=20).n_synapses
    with pytest.raises(ConfigError, match=f"budget of 100 synapses is too small.*has {least}"):
        plan_blueprint("rae", 64, budget=100, n_latent=20)
    assert plan_blueprint("rae", 64, budget=least, n_latent=20).hidden == 1


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (
            "vae",
            {"n_latent": 2},
            "Unknown baseline 'vae'. Did you mean 'gvae'[?] Choose one of: 'rae', 'gvae'",
        ),
        ("rae", {}, "'rae' needs n_latent"),
        ("rae", {"n_latent": 2, "variance": 0.1}, "'rae' takes no variance; received 0.1"),
        ("gvae-cv", {"n_latent": 2}, "'gvae-cv' needs variance"),
        ("gvae-cv", {"n_latent": 2, "variance": 0.01}, "variance.*0.025.*received 0.01"),
        ("dsrn", {"n_classes": 3, "n_latent": 2}, "'dsrn' takes no n_latent"),
        ("rae", {"n_latent": 2, "adversary_rate": 0.1}, "'rae' has no adversary.*received 0.1"),
        ("gan-ae", {"n_latent": 2, "adversary_rate": 0.0}, "adversary_rate.*received 0.0"),
        ("rae", {"n_latent": 2, "kl_warmup": 0.1}, "'rae' has no D_KL.*received 0.1"),
        ("gvae", {"n_latent": 2, "kl_warmup": 1.1}, "kl_warmup.*received 1.1"),
        ("dsrn", {"n_classes": 1}, "n_classes.*received 1"),
        ("gvae", {"n_latent": 2, "penalty": -1.0}, "penalty.*received -1.0"),
        ("gvae", {"n_latent": 2, "encoder_penalty": -1.0}, "encoder_penalty.*received -1.0"),
        ("dsrn", {"n_classes": 3, "encoder_penalty": 0.1}, "'dsrn' has no encoder.*received 0.1"),
    ],
)
def test_what_does_not_apply_is_refused(kind, options, message):
    with pytest.raises(ConfigError, match=message):
        plan_blueprint(kind, 64, **options)


def test_weights_have_the_scale_asked_for():
    dense = start_dense((400, 300, 20), jax.random.key(0), 0.5)
    for weights, below in zip(dense.weights, (400, 300), strict=True):
        assert np.std(weights) == pytest.approx(0.5 * np.sqrt(2 / below), rel=0.03)
        assert abs(float(np.mean(weights))) < 0.002


def test_trials_start_from_weights_of_their_own(digits):
    config = gncn.Config(model="rae", n_trials=2, seed=4, backprop={"budget": 3000})
    a, b = config.models(digits)
    assert not np.array_equal(a.encoder.weights[0], b.encoder.weights[0])
    again = config.model_copy(update={"seed": 5, "n_trials": 1}).models(digits)[0]
    np.testing.assert_array_equal(again.encoder.weights[0], b.encoder.weights[0])
