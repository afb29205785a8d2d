"""A convolutional connection from outside the package does all that a dense one does."""

from pathlib import Path

import jax
import numpy as np
import pytest
from loops import settle, times

import gncn
from gncn.core.learning import hebbian_updates

SIDE, MAPS, RADIUS = 8, 2, 1
N = SIDE * SIDE


@pytest.fixture(scope="module")
def convolution(stranger):
    return stranger("convolution")


@pytest.fixture(scope="module")
def circuit(convolution):
    return gncn.Circuit(
        layers=(
            gncn.Layer(size=N, likelihood="bernoulli", prediction_activation="sigmoid"),
            gncn.Layer(size=MAPS * N),
            gncn.Layer(size=5),
        ),
        connections=(
            convolution.Convolution(source=1, target=0, maps=MAPS, side=SIDE, radius=RADIUS),
            gncn.Dense(source=2, target=1),
        ),
    )


def shared():
    """Row and column of each synapse of the dense matrix, and the index of its shared weight."""
    for m in range(MAPS):
        for y in range(SIDE):
            for x in range(SIDE):
                for i in range(-RADIUS, RADIUS + 1):
                    for j in range(-RADIUS, RADIUS + 1):
                        if 0 <= y + i < SIDE and 0 <= x + j < SIDE:
                            sender = m * N + (y + i) * SIDE + (x + j)
                            yield y * SIDE + x, sender, (m, i + RADIUS, j + RADIUS)


def as_matrix(weights):
    W = np.zeros((N, MAPS * N))
    for row, column, weight in shared():
        W[row, column] = weights[weight]
    return W


def test_it_takes_few_lines():
    lines = (Path(__file__).parent / "convolution.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) < 60


def test_messages_equal_the_loops(circuit):
    synapses = gncn.build(circuit, seed=2, weight_scale=0.5).connections[0]
    W = as_matrix(np.array(synapses.weights, float))
    rng = np.random.default_rng(0)
    sent, error = (rng.normal(size=size).astype(np.float32) for size in (MAPS * N, N))
    np.testing.assert_allclose(synapses.predict(sent[None])[0], times(W, sent), atol=1e-5)
    np.testing.assert_allclose(synapses.send_up(error[None])[0], times(W.T, error), atol=1e-5)


def test_settling_and_updates_equal_the_loops(circuit, digits):
    numbers = {"step_size": 0.2, "leak": 0.1}
    network = gncn.build(circuit, seed=1, n_settle_steps=3, weight_scale=0.3, **numbers)
    first, second = network.connections
    W = [as_matrix(np.array(first.weights, float)), np.array(second.forward, float)]
    E = [W[0].T, np.array(second.feedback.weights, float)]
    V = [np.zeros((size, size)) for size in circuit.sizes[1:]]
    images = digits.test.images[:2]
    settled = gncn.settle(network, images)
    direction = np.zeros(first.weights.shape)
    for index, image in enumerate(np.array(images, float)):
        states, sent, errors = settle(image, W, E, V, n_steps=3, **numbers)
        for found, wanted in zip(settled.latents[1:], states, strict=True):
            np.testing.assert_allclose(found[index], wanted, rtol=1e-4, atol=1e-5)
        for row, column, weight in shared():
            direction[weight] += errors[0][row] * sent[0][column] / len(images)
    updates = hebbian_updates(network, settled.latents, settled.responses)
    np.testing.assert_allclose(updates.connections[0], direction, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_it_trains_and_comes_back_from_a_file(convolution, circuit, digits, tmp_path):
    network = gncn.build(circuit, seed=0, n_settle_steps=10)
    fit = gncn.fit(network, digits, gncn.TrainingConfig(n_epochs=2))
    errors = [record.validation.error for record in fit.history]
    assert errors[-1] < errors[0]
    gncn.save(fit.network, tmp_path / "model")
    loaded = gncn.load(tmp_path / "model")
    assert loaded.circuit == circuit
    assert isinstance(loaded.circuit.connections[0], convolution.Convolution)
    for ours, theirs in zip(jax.tree.leaves(loaded), jax.tree.leaves(fit.network), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_toml_names_it(convolution, digits):
    options = ("connection=convolution", "sizes=[128]", "maps=2", "side=8", "radius=1")
    config = gncn.load_config(
        overrides=["data.name=digits", *(f"network.{option}" for option in options)]
    )
    (network,) = config.models(digits)
    assert isinstance(network.circuit.connections[0], convolution.Convolution)


def test_layers_that_do_not_fit_are_refused(convolution):
    with pytest.raises(gncn.ConfigError, match=r"joins \(128, 64\); received \(100, 64\)"):
        gncn.chain((64, 100), connection="convolution", maps=2, side=8, radius=1)
