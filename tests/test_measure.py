"""Measuring a model that is no GNCN: two codes, a linear decoder, numbers known otherwise."""

import itertools
from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from gncn.base.errors import ConfigError
from gncn.data import Dataset, Split
from gncn.evaluation.annealing import Annealing
from gncn.evaluation.completion import visible_pixels
from gncn.evaluation.measure import (
    fit_prior,
    measure_completion,
    measure_likelihood,
    measure_probe,
    measure_sparsity,
    measure_tight_likelihood,
    measure_yardsticks,
)
from gncn.evaluation.names import MEASURES
from gncn.evaluation.proposals import laplace_proposal
from gncn.evaluation.protocols import StandardNormal
from gncn.evaluation.subject import Subject


class Linear(eqx.Module):
    weights: Float[Array, "dim pixels"]

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        return codes @ self.weights


class Toy:
    """Two latent layers: the images themselves less a half, and two codes."""

    def __init__(self, decoder):
        self.decoder = decoder
        self.own_prior = StandardNormal(2)
        self.fitted_prior = None
        self.measures = MEASURES

    def encode_layers(self, images):
        centred = images - np.float32(0.5)
        return [centred, centred @ np.asarray(self.decoder.weights).T / 4]

    def activities(self, layer, states):
        return np.maximum(states, 0) if layer == 1 else states

    def group_sizes(self):
        return [None, None]

    def propose(self, model, images, codes, key):
        return laplace_proposal(model, images, codes, key=key)

    def completers(self, codes, images, visible):
        return {
            "ones": lambda x, visible: jnp.ones_like(x),
            "half": lambda x, visible: jnp.full_like(x, 0.5),
        }


@pytest.fixture(scope="module")
def subject() -> Subject:
    rng = np.random.default_rng(0)
    decoder = Linear(jnp.asarray(rng.normal(size=(2, 12)), jnp.float32))
    codes = rng.normal(size=(700, 2))
    logits = np.asarray(decoder.decode(jnp.asarray(codes, jnp.float32)))
    images = (rng.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    labels = (codes[:, 0] > 0).astype(np.int32)
    splits = [Split(images[a:b], labels[a:b]) for a, b in ((0, 500), (500, 600), (600, 700))]
    data = Dataset(
        name="toy",
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        image_shape=(3, 4),
        n_classes=2,
        source="simulated",
        licence="none",
    )
    return Subject(Toy(decoder), data, "test")


def exact(subject, prior, images):
    """log p(x) by quadrature."""
    side = np.linspace(-7, 7, 281)
    grid = np.array(list(itertools.product(side, side)), np.float32)
    logits = np.asarray(subject.model.decoder.decode(jnp.asarray(grid)), np.float64)
    log_prior = np.asarray(prior.log_prob(jnp.asarray(grid)), np.float64)
    joint = images @ logits.T - np.logaddexp(0, logits).sum(1)[None] + log_prior[None]
    return np.logaddexp.reduce(joint + 2 * np.log(side[1] - side[0]), axis=1)


def test_likelihoods_agree_with_quadrature_on_the_split_asked_for(subject):
    fit, described = fit_prior(subject, n_components=(1, 3), regularisation=1e-3)
    assert described["n_components"] in (1, 3)
    assert set(described["validation_log_density"]) == {1, 3}
    assert "log_density_of_test_codes" in described
    truth = exact(subject, fit.mixture, subject.data.test.images.astype(float))
    found = measure_likelihood(subject, fit.mixture, n_samples=20_000, curve=(10, 1000))
    assert found["mean"] == pytest.approx(truth.mean(), abs=0.05)
    np.testing.assert_allclose(found["per_image"], truth, atol=0.4)
    assert found["curve"]["mean"][0] < found["curve"]["mean"][1]
    small = Annealing(n_temperatures=10, n_chains=8, step_size=0.4)
    tight = measure_tight_likelihood(subject, fit.mixture, n_images=20, annealing=small)
    assert tight["mean"] == pytest.approx(truth[:20].mean(), abs=0.05)
    assert tight["importance_sampling"]["mean"] == pytest.approx(truth[:20].mean(), abs=0.05)
    assert tight["importance_sampling"]["effective_sample_size"] > 300
    assert abs(tight["simulated_images"]["gap"]) < 0.5
    own = measure_likelihood(subject, subject.model.own_prior, n_samples=20_000, curve=(10,))
    own_truth = exact(subject, subject.model.own_prior, subject.data.test.images.astype(float))
    assert own["mean"] == pytest.approx(own_truth.mean(), abs=0.05)
    assert abs(own["mean"] - found["mean"]) > 0.01


def test_completion_scores_every_way_and_yardsticks_need_no_model(subject):
    visible = visible_pixels("right", (3, 4))
    ways = subject.model.completers(None, None, visible)
    found = measure_completion(subject, ways, visible)
    hidden = subject.data.test.images.reshape(-1, 3, 4)[:, :, 2:].reshape(-1, 6).astype(float)
    assert found["n_missing_pixels"] == 6
    assert found["ways"]["half"]["m_mse"] == pytest.approx(1.5)
    ones = ((1 - hidden) ** 2).sum(1)
    assert found["ways"]["ones"]["m_mse"] == pytest.approx(ones.mean())
    np.testing.assert_allclose(found["ways"]["ones"]["per_image"], ones)
    mean = subject.data.train.images.reshape(-1, 3, 4)[:, :, 2:].reshape(-1, 6).mean(0)
    expected = ((hidden - mean[None]) ** 2).sum(1).mean()
    assert found["best_way"] == "half"
    yardsticks = measure_yardsticks(subject, visible)["m_mse"]
    assert yardsticks["mean_image"]["m_mse"] == pytest.approx(expected, rel=1e-4)
    assert yardsticks["supervised"]["m_mse"] < expected
    assert yardsticks["nearest_neighbours"]["m_mse"] < expected
    assert yardsticks["nearest_neighbours"]["k"] >= 1


def test_the_way_of_completing_is_chosen_by_validation_images_alone(subject):
    validation = subject.data.validation
    validation = Split(np.ones_like(validation.images), validation.labels)
    chosen = replace(subject, data=replace(subject.data, validation=validation))
    visible = visible_pixels("right", (3, 4))
    found = measure_completion(chosen, subject.model.completers(None, None, visible), visible)
    assert found["ways"]["half"]["m_mse"] < found["ways"]["ones"]["m_mse"]  # on test images
    assert found["best_way"] == "ones"
    assert found["validation_m_mse"] == {"ones": pytest.approx(0), "half": pytest.approx(1.5)}


def test_probe_and_sparsity_take_any_layer(subject):
    top, probe = measure_probe(subject)
    assert top["layer"] == 2
    assert top["z"]["error_percent"] < 30
    assert top["z"]["error_percent"] == top["phi"]["error_percent"]
    codes = subject.codes("test")
    wrong = 100 * np.mean(probe.predict(codes) != subject.data.test.labels)
    assert top["z"]["error_percent"] == pytest.approx(wrong)
    assert np.sum(top["z"]["confusion"]) == 100
    assert measure_probe(subject, layer=1)[0]["layer"] == 1
    with pytest.raises(ConfigError, match="from 1 to 2; received 0"):
        measure_probe(subject, layer=0)
    first, second = measure_sparsity(subject)
    images = subject.data.test.images
    assert first["active"] == pytest.approx(images.mean())
    n, active = images.shape[1], images.sum(1)
    hoyer = np.where(active > 0, (np.sqrt(n) - np.sqrt(active)) / (np.sqrt(n) - 1), 1)
    assert first["hoyer"] == pytest.approx(hoyer.mean(), rel=1e-4)
    assert second["active"] == pytest.approx((codes > 0).mean())


def test_a_subject_needs_a_split_to_report_on_and_binary_data(subject):
    with pytest.raises(ConfigError, match="'validation' or 'test' images; received 'train'"):
        Subject(subject.model, subject.data, "train")
    splits = (subject.data.train, subject.data.validation, subject.data.test)
    train, validation, test = (Split(s.images.astype(np.float32) / 2, s.labels) for s in splits)
    real = replace(subject.data, train=train, validation=validation, test=test)
    with pytest.raises(ConfigError, match="real-valued"):
        Subject(subject.model, real, "test")
