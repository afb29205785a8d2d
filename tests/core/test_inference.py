"""Reconstructing, encoding and decoding any number of images."""

import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn import Circuit, Dense, Layer
from gncn.base.errors import ConfigError, DataError
from gncn.core.inference import encode_layers


def network(**options):
    circuit = gncn.chain((6, 5, 4), activation="tanh", **options)
    return gncn.build(circuit, seed=0, weight_scale=0.4, n_settle_steps=9)


X = np.random.default_rng(0).integers(0, 2, (7, 6))


def test_blocks_change_nothing():
    one = network()
    settled = gncn.settle(one, jnp.asarray(X, jnp.float32))
    for size in (1, 3, 100):
        np.testing.assert_allclose(
            gncn.reconstruct(one, X, batch_size=size), settled.reconstruction, rtol=1e-4
        )
    np.testing.assert_allclose(gncn.encode(one, X, batch_size=3), settled.latents[2], rtol=1e-4)
    np.testing.assert_allclose(gncn.encode(one, X, layer=1), settled.latents[1], rtol=1e-4)
    for found, states in zip(encode_layers(one, X, batch_size=3), settled.latents[1:], strict=True):
        np.testing.assert_allclose(found, states, rtol=1e-4)
    np.testing.assert_allclose(
        gncn.encode(one, X, activities=True), np.tanh(settled.latents[2]), rtol=1e-4
    )


@pytest.mark.parametrize("compared", ["state", "activity"])
def test_decoding_goes_down_by_the_predictions(compared):
    one = network(compared=compared, prediction_activation="softplus")
    codes = np.random.default_rng(1).normal(size=(3, 4))
    w0, w1 = (np.asarray(c.forward, float) for c in one.connections)
    below = np.log1p(np.exp(np.tanh(codes) @ w1.T))
    sent = np.tanh(below) if compared == "state" else below
    logits = gncn.decode(one, jnp.asarray(codes, jnp.float32))
    np.testing.assert_allclose(logits, sent @ w0.T, rtol=1e-4, atol=1e-5)


def test_decoding_follows_skip_connections():
    circuit = Circuit(
        layers=(
            Layer(size=4, prediction_activation="sigmoid", likelihood="bernoulli"),
            Layer(size=3, activation="identity"),
            Layer(size=2, activation="identity"),
        ),
        connections=(
            Dense(source=1, target=0),
            Dense(source=2, target=1),
            Dense(source=2, target=0),
        ),
    )
    one = gncn.build(circuit, seed=0)
    w10, w21, w20 = (c.forward for c in one.connections)
    codes = jnp.asarray([[1.0, -2.0]])
    np.testing.assert_allclose(
        gncn.decode(one, codes), codes @ w21.T @ w10.T + codes @ w20.T, rtol=1e-5
    )


def test_going_down_starts_from_one_top():
    circuit = Circuit(
        layers=(Layer(size=4), Layer(size=3), Layer(size=2)),
        connections=(Dense(source=1, target=0), Dense(source=2, target=0)),
    )
    with pytest.raises(ConfigError, match=r"one top layer, 2; here layers \[1, 2\] have no"):
        gncn.decode(gncn.build(circuit, seed=0), jnp.ones((1, 2)))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 5)), r"\(n, 6\).*received \(2, 5\)"),
        (np.zeros(5), r"or one alone; received \(5,\)"),
        (np.zeros((0, 6)), "n at least 1"),
        (np.full((1, 6), np.nan), "finite"),
        (np.full((1, 6), 255), "divide by 255"),
    ],
)
def test_bad_images_are_refused(images, message):
    with pytest.raises(DataError, match=message):
        gncn.reconstruct(network(), images)


def test_bad_options_are_refused():
    with pytest.raises(ConfigError, match="layer must be from 1 to 2.*received 3"):
        gncn.encode(network(), X, layer=3)
    with pytest.raises(ConfigError, match="batch_size"):
        gncn.reconstruct(network(), X, batch_size=0)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("layer", [True, 1.0, "2"])
def test_a_layer_is_a_whole_number(layer):
    with pytest.raises(ConfigError, match=f"layer must be a whole number; received {layer!r}"):
        gncn.encode(network(), X, layer=layer)
    with pytest.raises(ConfigError, match=f"batch_size must be a whole number.*{layer!r}"):
        gncn.encode(network(), X, batch_size=layer)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (np.zeros((2, 5)), r"shape \(n, 4\).*received \(2, 5\)"),
        (np.zeros(5), r"received \(5,\)"),
        ([["a"] * 4], "Codes must be of a boolean, integer or floating type; received <U1"),
        ([[0, 0, np.inf, 0]], "Codes must be finite"),
    ],
)
def test_bad_codes_are_refused(codes, message):
    with pytest.raises(DataError, match=message):
        gncn.decode(network(), codes)


@pytest.mark.usefixtures("unchecked")
def test_codes_may_be_lists():
    codes = np.random.default_rng(2).normal(size=(2, 4)).astype(np.float32)
    found = gncn.decode(network(), codes.tolist())
    np.testing.assert_allclose(found, gncn.decode(network(), jnp.asarray(codes)), rtol=1e-6)
    rounded = jnp.asarray(codes, jnp.bfloat16)
    expected = gncn.decode(network(), rounded.astype(jnp.float32))
    np.testing.assert_array_equal(gncn.decode(network(), rounded), expected)
