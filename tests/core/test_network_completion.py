"""Completion with a network: Eq 4, silent pixels, and settling from codes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn.base.errors import ConfigError
from gncn.core.completion import WAYS, Completer, SeenErrors, _sharpness
from gncn.evaluation.completion import complete
from gncn.measures.models import SettleFrom, calibrated
from oracle import Oracle

SIZES = (6, 5, 4)
X = np.random.default_rng(0).integers(0, 2, (3, 6)).astype(np.float32)
VISIBLE = np.array([True, True, False, True, False, False])


def network(**settling):
    circuit = gncn.chain(
        SIZES,
        activation="softplus",
        prediction_activation="tanh",
        competition="columns",
        group_size=(5, 2),
    )
    return gncn.build(circuit, seed=0, weight_scale=0.5, step_size=(0.15, 0.1), **settling)


def completer(way, n_steps=6):
    return Completer(network(), way, n_steps)


def loops(oracle, x, way, n_steps):
    """Eq 4 or its silent form, one image at a time."""
    z = settle(oracle, way, [np.where(VISIBLE, x, 0.0), *(np.zeros(s) for s in SIZES[1:])], n_steps)
    filled = z[0] if way == "drift" else oracle.predictions(z)[1][0]
    return np.where(VISIBLE, x, filled)


def settle(oracle, way, z, n_steps):
    """States after some steps."""
    for _ in range(n_steps):
        h, zbar = oracle.predictions(z)
        e = oracle.errors(z, zbar)
        pixels = z[0]
        if way == "drift":
            pixels = np.where(VISIBLE, pixels, pixels - 0.15 * e[0])
        else:
            e[0] = e[0] * VISIBLE
        beta = oracle.numbers["step_size"]
        z = [pixels, *(z[k] + beta[k - 1] * oracle.change(k, z, h, e) for k in (1, 2))]
    return z


def test_silent_pixels_stay_silent_when_layers_move_in_turn():
    """With a skip connection the data's errors change between two layers' moves."""
    circuit = gncn.Circuit(
        layers=(
            gncn.Layer(size=6, prediction_activation="sigmoid", likelihood="bernoulli"),
            gncn.Layer(size=5, activation="softplus", prediction_activation="tanh"),
            gncn.Layer(size=4, activation="softplus"),
        ),
        connections=tuple(
            gncn.Dense(source=source, target=target) for source, target in ((1, 0), (2, 1), (2, 0))
        ),
    )
    skipping = gncn.build(circuit, seed=0, weight_scale=0.5, step_size=0.3, settler="sequential")
    oracle = Oracle(skipping)
    found = Completer(skipping, "silent", 5)(jnp.asarray(X), jnp.asarray(VISIBLE))
    for x, completed in zip(X, found, strict=True):
        z = [np.where(VISIBLE, x, 0.0), *(np.zeros(s) for s in SIZES[1:])]
        for _ in range(5):
            for layer in (1, 2):
                h, zbar = oracle.predictions(z)
                e = oracle.errors(z, zbar)
                e[0] = e[0] * VISIBLE
                z[layer] = z[layer] + 0.3 * oracle.change(layer, z, h, e)
        expected = np.where(VISIBLE, x, oracle.predictions(z)[1][0])
        np.testing.assert_allclose(completed, expected, rtol=1e-4, atol=1e-5)


def test_pixels_that_are_missing_send_no_error_and_all_else_stays():
    rng = np.random.default_rng(1)
    x, drive = (jnp.asarray(rng.normal(size=(3, 6)), jnp.float32) for _ in range(2))
    key = jax.random.key(0)
    for data in (gncn.Bernoulli(), gncn.Gaussian(precision="full")):
        activation = "sigmoid" if data.binary else "tanh"
        whole = data.build(6, activation, 0.7)
        seen = SeenErrors(whole, jnp.asarray(VISIBLE)[None])
        for name in ("error", "gradient"):
            found, plain = (getattr(of, name)(x, drive) for of in (seen, whole))
            np.testing.assert_array_equal(found[:, VISIBLE], plain[:, VISIBLE])
            assert (np.asarray(found)[:, ~VISIBLE] == 0).all()
            assert (np.asarray(plain)[:, ~VISIBLE] != 0).all()
        np.testing.assert_array_equal(seen.mean(drive), whole.mean(drive))
        np.testing.assert_array_equal(seen.log_prob(x, drive), whole.log_prob(x, drive))
        np.testing.assert_array_equal(seen.sample(key, drive), whole.sample(key, drive))
        np.testing.assert_array_equal(seen.sharpness(0.2), whole.sharpness(0.2))
        np.testing.assert_array_equal(seen.for_batch(3).error(x, drive), seen.error(x, drive))


@pytest.mark.parametrize(
    "settling",
    [
        {"settler": "momentum", "momentum": 0.5},
        {"settler": "newton", "damping": 1.0, "pixel_variance": 0.25},
    ],
)
@pytest.mark.parametrize("way", WAYS)
def test_every_settler_completes(way, settling):
    """Missing pixels have no influence, and with none missing it is reconstruction."""
    one = Completer(network(**settling), way, 6)
    completed = complete(one, X, VISIBLE)
    other = np.where(VISIBLE[None, :], X, 1 - X)
    np.testing.assert_array_equal(
        complete(one, other, VISIBLE), np.where(VISIBLE, other, completed)
    )
    drive = one.settle(jnp.asarray(X), jnp.ones(6, bool))[1]
    settled = gncn.settle(one.network, X, n_settle_steps=6)
    np.testing.assert_allclose(jax.nn.sigmoid(drive), settled.reconstruction, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", ["drift", "silent"])
def test_completion_equals_the_loops(way):
    found = completer(way)(jnp.asarray(X), jnp.asarray(VISIBLE))
    oracle = Oracle(network())
    expected = [loops(oracle, x.astype(float), way, 6) for x in X]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_settling_from_codes_equals_the_loops():
    codes = np.asarray(jax.random.normal(jax.random.key(0), (3, 4)), float)
    settle_from = SettleFrom(network(), 6)
    logits, tops = settle_from(
        jnp.asarray(X), jnp.asarray(VISIBLE), jnp.asarray(codes, jnp.float32)
    )
    oracle = Oracle(settle_from.network)
    for x, code, logit, top in zip(X.astype(float), codes, logits, tops, strict=True):
        below = np.tanh(np.log1p(np.exp(code)) @ oracle.W[2, 1].T)
        z = settle(oracle, "silent", [np.where(VISIBLE, x, 0.0), below, code], 6)
        np.testing.assert_allclose(top, z[2], rtol=1e-3, atol=1e-4)
        p = oracle.predictions(z)[1][0]
        np.testing.assert_allclose(jax.nn.sigmoid(logit), p, rtol=1e-3, atol=1e-4)
        assert np.abs(z[2] - code).max() > 1e-2


@pytest.mark.parametrize("way", WAYS)
def test_visible_pixels_stay_as_they_are_and_missing_ones_have_no_influence(way):
    completed = complete(completer(way), X, VISIBLE)
    assert (completed[:, VISIBLE] == X[:, VISIBLE]).all()
    other = np.where(VISIBLE[None, :], X, 1 - X)
    np.testing.assert_array_equal(
        complete(completer(way), other, VISIBLE)[:, ~VISIBLE], completed[:, ~VISIBLE]
    )


@pytest.mark.parametrize("way", WAYS)
def test_all_missing_is_finite(way):
    nothing = np.zeros(6, bool)
    assert np.isfinite(complete(completer(way, 50), X, nothing)).all()


def test_with_nothing_missing_it_is_reconstruction():
    one, everything = completer("silent"), jnp.ones(6, bool)
    kept = one(jnp.asarray(X), everything)
    np.testing.assert_array_equal(kept, X)
    prediction = jax.nn.sigmoid(one.settle(jnp.asarray(X), everything)[1])
    settled = gncn.settle(network(), X, n_settle_steps=6)
    np.testing.assert_allclose(prediction, settled.reconstruction, rtol=1e-5, atol=1e-6)


def test_sharpness_scales_logits_and_is_learned_from_images():
    plain = completer("silent", 12)
    x, visible = jnp.asarray(X), jnp.asarray(VISIBLE)
    logits = plain.settle(x, visible)[1]
    sharp = Completer(plain.network, "silent", 12, sharpness=2.5)
    expected = jnp.where(visible[None], x, jax.nn.sigmoid(2.5 * logits))
    np.testing.assert_allclose(sharp(x, visible), expected, rtol=1e-5)
    # Images that continue as 1.3 times the network's logits say, on average.
    many = np.repeat(X, 4000, axis=0)
    target = np.asarray(jax.nn.sigmoid(1.3 * logits))
    drawn = np.random.default_rng(0).uniform(size=many.shape) < np.repeat(target, 4000, axis=0)
    whole = np.where(VISIBLE[None], many, drawn).astype(np.float32)
    found = calibrated(plain, whole, VISIBLE).sharpness
    assert found == pytest.approx(1.3, abs=0.11)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"way": "guess"}, "Unknown way 'guess'.*'drift', 'silent'"),
        ({"way": "drift", "sharpness": 0.8}, r"no sharpness; received 0\.8"),
    ],
)
def test_options_that_do_not_go_together(options, message):
    with pytest.raises(ConfigError, match=message):
        Completer(network(), n_settle_steps=3, **options)


@pytest.mark.parametrize("way", WAYS)
def test_a_program_may_be_given_the_mask(way):
    fill = completer(way)
    inside = jax.jit(lambda visible: fill(X, visible))
    for visible in (VISIBLE, ~VISIBLE):
        np.testing.assert_allclose(inside(visible), fill(X, visible), rtol=1e-5, atol=1e-6)
    assert np.any(inside(VISIBLE) != inside(~VISIBLE))


def test_a_sharpness_that_programs_are_given_stays_an_array():
    given = jnp.float32(2.0)
    assert _sharpness(given) is given
    assert _sharpness(2) == 2.0
    with pytest.raises(ConfigError, match="sharpness must be .*received 0"):
        _sharpness(0)
