"""Objectives (Eqs 20 to 25) against plain NumPy, and who descends them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import gncn
from gncn.baselines.autoencoder import (
    GANAE,
    autoencoder_loss,
    discriminator_loss,
    generator_loss,
    kl_to_standard_normal,
    objective_loss,
)
from gncn.baselines.classifier import classification_loss
from gncn.baselines.descent import Backprop
from gncn.training.epochs import Learner
from nets import rates

KEY = jax.random.key(7)


def forward(dense, x):
    """All layers in double precision."""
    found = []
    for number, (w, b) in enumerate(zip(dense.weights, dense.biases, strict=True)):
        x = x @ np.asarray(w, np.float64) + np.asarray(b, np.float64)
        x = x if number == len(dense.weights) - 1 else np.maximum(x, 0)
        found.append(x)
    return found


def bce(x, logits):
    p = 1 / (1 + np.exp(-logits))
    return -np.sum(x * np.log(p) + (1 - x) * np.log(1 - p), axis=1)


def omega(model, penalty, encoder_penalty=0.0):
    decoder, encoder = (
        sum(np.sum(np.asarray(w, np.float64) ** 2) for w in part.weights)
        for part in (model.decoder, model.encoder)
    )
    return -penalty * decoder - encoder_penalty * encoder


def gaussian(model, x):
    top = forward(model.encoder, x)[-1]
    if model.blueprint.kind == "rae":
        return top, np.zeros_like(top)
    if model.blueprint.kind == "gvae-cv":
        return top, np.full_like(top, np.sqrt(0.3))
    return top[:, :3], np.sqrt(np.exp(top[:, 3:]))


def log_sigmoid(a):
    return -np.log1p(np.exp(-a))


@pytest.mark.parametrize("kind", ["rae", "gvae", "gvae-cv"])
def test_the_loss_is_minus_the_mean_objective_and_the_penalty(small, batch, kind):
    model = small(kind, penalty=0.02, encoder_penalty=0.03)
    x = np.asarray(batch.images, np.float64)
    mean, std = gaussian(model, x)
    noise = np.asarray(jax.random.normal(jax.random.split(KEY)[0], mean.shape), np.float64)
    psi = -bce(x, forward(model.decoder, mean + std * noise)[-1])
    if kind != "rae":
        psi -= 0.5 * np.sum(mean**2 + std**2 - 1 - np.log(std**2), axis=1)
    expected = -(psi[:4].mean() + omega(model, 0.02, 0.03))
    loss, seen = objective_loss(model, batch, KEY)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(seen.discrepancy, psi, rtol=1e-5)
    np.testing.assert_allclose(seen.layer_discrepancy.sum(1), psi, rtol=1e-5)
    at_code = bce(x, forward(model.decoder, mean)[-1])
    np.testing.assert_allclose(model.statistics(batch, KEY).error, at_code, rtol=1e-5)


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.1, 0.25), (0.4, 1.0), (0.9, 1.0)])
def test_the_divergence_counts_more_and_more_while_warming_up(small, batch, progress, weight):
    model = small("gvae", kl_warmup=0.4)
    batch = batch._replace(progress=progress)
    loss, seen = objective_loss(model, batch, KEY)
    data_term, divergence = np.asarray(seen.layer_discrepancy, np.float64)[:4].mean(0)
    np.testing.assert_allclose(loss, -(data_term + weight * divergence), rtol=1e-5)
    np.testing.assert_allclose(seen.discrepancy, seen.layer_discrepancy.sum(1), rtol=1e-5)


@pytest.mark.slow
def test_an_update_knows_how_much_of_the_run_is_over(small, batch):
    """Update 1 of 4 with a warm-up over half of them weighs D_KL with ½."""
    model = small("gvae", kl_warmup=0.5)
    config = gncn.TrainingConfig(optimizer="sgd", clip_norm=1e9, n_epochs=4, batch_size=5)
    method = Backprop(config, 5)
    learner = eqx.tree_at(lambda s: s.n_updates, method.init(model), jnp.ones((), int))
    key = jax.random.fold_in(KEY, 0)
    expected = jax.grad(
        lambda m: (
            -batch.mean(m.see(batch, key).layer_discrepancy @ jnp.asarray([1.0, 0.5])) - m.omega()
        )
    )(model)
    after, *_ = eqx.filter_jit(method.learn)(model, learner, batch, KEY, rates(0.1))
    moved = jax.tree.map(lambda new, old: (old - new) / 0.1, after.encoder, model.encoder)
    for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(expected.encoder), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)


def test_the_adversarial_losses(small, batch):
    model = small("gan-ae", penalty=0.02, encoder_penalty=0.03)
    x = np.asarray(batch.images, np.float64)
    mean, std = gaussian(model, x)

    def noise(key):
        return np.asarray(jax.random.normal(key, mean.shape), np.float64)

    def judge(codes):
        return forward(model.discriminator, codes)[-1][:, 0]

    draw_key, own_key = jax.random.split(KEY)
    fake = mean + std * noise(draw_key)
    reconstruction = bce(x, forward(model.decoder, fake)[-1])
    loss, seen = autoencoder_loss(model, batch, KEY)
    np.testing.assert_allclose(
        loss, reconstruction[:4].mean() - omega(model, 0.02, 0.03), rtol=1e-5
    )
    verdict = log_sigmoid(judge(noise(own_key))) + log_sigmoid(-judge(fake))  # Eq 22, as meant
    np.testing.assert_allclose(seen.discrepancy, -reconstruction + verdict, rtol=1e-5)

    loss, _ = generator_loss(model, batch, KEY)
    fooled = judge(mean + std * noise(KEY))
    np.testing.assert_allclose(loss, -log_sigmoid(fooled)[:4].mean(), rtol=1e-5)

    loss, _ = discriminator_loss(model, batch, KEY)  # real is 1, fake is 0
    real, fake = noise(own_key), mean + std * noise(draw_key)
    expected = log_sigmoid(judge(real)) + log_sigmoid(-judge(fake))
    np.testing.assert_allclose(loss, -expected[:4].mean(), rtol=1e-5)


def test_the_classifier_learns_labels_and_pays_for_activity(small, batch):
    model = small("dsrn", penalty=0.05)
    *hidden, logits = forward(model.network, np.asarray(batch.images, np.float64))
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    right = share[np.arange(5), np.asarray(batch.labels)]
    paid = 0.05 * sum(np.abs(units).sum(1) for units in hidden)
    loss, seen = classification_loss(model, batch, KEY)
    np.testing.assert_allclose(loss, -(np.log(right) - paid)[:4].mean(), rtol=1e-5)
    wrong = 100.0 * (logits.argmax(1) != np.asarray(batch.labels))
    np.testing.assert_array_equal(seen.error, wrong)


def test_the_divergence_in_closed_form_is_its_monte_carlo_estimate():
    rng = np.random.default_rng(3)
    mean, std = rng.normal(size=(4, 3)), rng.uniform(0.2, 1.8, (4, 3))
    z = mean[:, None] + std[:, None] * rng.normal(size=(4, 200_000, 3))
    log_q = -0.5 * ((z - mean[:, None]) / std[:, None]) ** 2 - np.log(std)[:, None]
    ratio = np.sum(log_q + 0.5 * z**2, axis=-1)
    error = ratio.std(axis=1, ddof=1) / np.sqrt(ratio.shape[1])
    exact = kl_to_standard_normal(jnp.asarray(mean, jnp.float32), jnp.asarray(std, jnp.float32))
    assert (np.abs(ratio.mean(axis=1) - np.asarray(exact)) < 4 * error).all()
    zero = kl_to_standard_normal(jnp.zeros((1, 3)), jnp.ones((1, 3)))
    assert float(zero[0]) == 0


def changed(before, after) -> set[str]:
    """Names of the parts that differ."""
    return {
        part
        for part in before.blueprint.parts
        if not all(
            np.array_equal(a, b)
            for a, b in zip(
                jax.tree.leaves(getattr(before, part)),
                jax.tree.leaves(getattr(after, part)),
                strict=True,
            )
        )
    }


def step(model, batch, *, clip_norm=1e9, rate=0.1):
    options = {"optimizer": "sgd", "n_epochs": 1, "batch_size": 5, "clip_norm": clip_norm}
    method = Backprop(gncn.TrainingConfig(**options), 5)
    descend = eqx.filter_jit(lambda *a: method.learn(*a))  # a monkeypatch needs a new trace
    after, learner, _ = descend(model, method.init(model), batch, KEY, rates(rate))
    assert isinstance(learner, Learner)
    return after, learner


def test_each_adversarial_update_changes_its_own_part_alone(small, batch, monkeypatch):
    model, objectives = small("gan-ae", penalty=0.02), GANAE.objectives
    parts = []
    for objective in objectives:

        def loss(model, batch, key, objective=objective):
            return objective.loss(model, batch, key)[0], model.see(batch, key)

        monkeypatch.setattr(GANAE, "objectives", (objective._replace(loss=loss),))
        parts.append(changed(model, step(model, batch)[0]))
    assert parts == [{"encoder", "decoder"}, {"encoder"}, {"discriminator"}]


@pytest.mark.slow
def test_adversarial_updates_follow_one_another(small, batch):
    """Each update starts from what the one before left, as a hand-written sequence does."""
    expected = small("gan-ae", adversary_rate=0.3)
    for number, objective in enumerate(GANAE.objectives):
        key = jax.random.fold_in(KEY, number)
        descend = jax.jit(jax.grad(lambda m, o=objective, k=key: o.loss(m, batch, k)[0]))
        gradient = descend(expected)
        for name in objective.learns:
            part = jax.tree.map(
                lambda p, g, rate=0.03 if number else 0.1: p - rate * g,
                getattr(expected, name),
                getattr(gradient, name),
            )
            expected = eqx.tree_at(lambda m, name=name: getattr(m, name), expected, part)
    after, learner = step(small("gan-ae", adversary_rate=0.3), batch)
    for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6)
    assert len(learner.optimizer) == 3


def test_the_generator_fools_and_the_discriminator_unmasks(small, batch):
    start = small("gan-ae")
    real = jax.random.normal(jax.random.key(1), (500, 3))

    def gap(model):  # how far D tells codes from draws of the prior
        fake = model.encode(batch.images[:4])
        return float(jnp.mean(model.judge(real)) - jnp.mean(model.judge(fake)))

    @eqx.filter_jit
    def descend(model, loss, name, key):
        gradient = jax.grad(lambda m: loss(m, batch, key)[0])(model)
        moved = jax.tree.map(
            lambda p, g: p - 0.05 * g, getattr(model, name), getattr(gradient, name)
        )
        return eqx.tree_at(lambda m: getattr(m, name), model, moved)

    for loss, name, sign in (
        (discriminator_loss, "discriminator", 1),
        (generator_loss, "encoder", -1),
    ):
        model = start
        for number in range(20):
            model = descend(model, loss, name, jax.random.key(number))
        assert sign * (gap(model) - gap(start)) > 0.1


@pytest.mark.parametrize(("clip_norm", "clipped"), [(0.5, True), (1e4, False)])
def test_gradients_are_rescaled_to_the_norm(small, batch, clip_norm, clipped):
    model = small("rae")
    after, _ = step(model, batch, clip_norm=clip_norm, rate=1.0)
    moved = jax.tree.map(lambda a, b: a - b, model, after)
    gradient = jax.grad(lambda m: objective_loss(m, batch, KEY)[0])(model)
    length = float(optax.tree.norm(gradient))
    assert length > 0.5
    expected = 0.5 / length if clipped else 1.0
    for a, b in zip(jax.tree.leaves(moved), jax.tree.leaves(gradient), strict=True):
        np.testing.assert_allclose(a, expected * np.asarray(b), rtol=1e-3, atol=1e-5)
