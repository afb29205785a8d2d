"""Learned biases of predictions: h = Σ W φ(z) + b, Δb = e.

`test_oracle` and `test_theory` hold networks with biases against loops and against `jax.grad`.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import gncn
from budget import examples, later
from gncn.base.errors import ConfigError
from gncn.base.tensors import named_arrays
from gncn.core.bias import LearnedBias, NoBias
from gncn.core.learning import hebbian_updates, learned
from gncn.estimators.options import config_of
from gncn.training.hebbian import Hebbian
from nets import cases, perturb, rates
from oracle import Oracle, sigmoid

SETTLERS = (
    {"settler": "euler"},
    {"settler": "sequential"},
    {"settler": "momentum", "momentum": 0.5},
    {"settler": "newton", "damping": 0.3, "pixel_variance": 0.25},
)


def network(**options):
    circuit = gncn.chain((6, 5, 4), **{"bias": True, "activation": "tanh"} | options)
    return perturb(gncn.build(circuit, seed=0, n_settle_steps=5, weight_scale=0.5), 1)


def biases(model):
    return [np.asarray(layer.bias.values) for layer in model.layers[:-1]]


def images(n=9):
    return np.random.default_rng(4).integers(0, 2, (n, 6)).astype(np.float32)


def silent(likelihood):
    """A network of which no latent neuron ever becomes active: all synapses are 0."""
    model = gncn.build(gncn.chain((6, 3), bias=True, likelihood=likelihood), seed=0)
    where = lambda one: (one.connections[0].forward, one.connections[0].feedback.weights)  # noqa: E731
    return eqx.tree_at(where, model, (jnp.zeros((6, 3)), jnp.zeros((3, 6))))


@pytest.mark.parametrize("likelihood", ["bernoulli", later("gaussian")])
def test_without_activity_a_bias_learns_the_mean_of_the_data(likelihood):
    x = (np.random.default_rng(4).random((20, 6)) < np.linspace(0.2, 0.8, 6)).astype(np.float32)
    x = x if likelihood == "bernoulli" else 3 * x - 1
    data = gncn.from_arrays(x, n_validation=1, n_test=1, binarisation="none")
    means = data.train.array.mean(axis=0)
    assert len(set(means)) > 3
    config = gncn.TrainingConfig(optimizer="sgd", learning_rate=1.0, n_epochs=80, batch_size=18)
    trained = gncn.fit(silent(likelihood), data, config)
    (values,) = biases(trained.networks[0])
    wanted = np.log(means / (1 - means)) if likelihood == "bernoulli" else means
    np.testing.assert_allclose(values, wanted, atol=1e-3)
    np.testing.assert_array_equal(trained.networks[0].connections[0].forward, 0)


@pytest.mark.parametrize("optimizer", [later("sgd"), "adam"])
def test_a_step_is_the_rate_times_what_the_optimiser_makes_of_the_mean_error(optimizer):
    start, x, weights = network(norm="clipped", max_norm=0.1), images(3), [1.0, 0.5, 0.0]
    settled = gncn.settle(start, x)
    updates = hebbian_updates(start, settled.latents, settled.responses, jnp.asarray(weights))
    method = Hebbian(gncn.TrainingConfig(optimizer=optimizer, batch_size=3), 3)
    after, _ = method.update(start, method.init(start), updates, rates(0.1, 0.25, 0.0))
    for layer, (was, now) in enumerate(zip(biases(start), biases(after), strict=True)):
        error = np.asarray(settled.responses.errors[layer])
        mean = (error[0] + 0.5 * error[1]) / 1.5
        direction = mean if optimizer == "sgd" else np.sign(mean)  # Adam's first step
        np.testing.assert_allclose(now - was, 0.1 * direction, rtol=1e-3, atol=1e-6)


@pytest.mark.slow
@settings(max_examples=examples(15))
@given(cases(bias=True))
def test_biases_of_zero_that_do_not_learn_are_none(case):
    model, x = case.build()
    zero = (
        NoBias() if isinstance(one, NoBias) else LearnedBias(0 * one.values)
        for one in (layer.bias for layer in model.layers)
    )
    model = model.replaced(biases=zero)
    plain, _ = dataclasses.replace(case, chain=case.chain | {"bias": False}).build()
    both = [gncn.settle(one, x) for one in (model, plain)]
    for one, other in zip(*(jax.tree.leaves(settled) for settled in both), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    updates = hebbian_updates(model, both[0].latents, both[0].responses)
    names = ("rate", "feedback_rate", "precision_rate")
    after = learned(
        model,
        updates.plastic,
        updates,
        **{name: jnp.zeros(()) for name in names},
        precision_bounds=(1e-3, 1e3),
    )
    assert not any(values.any() for values in biases(after))


@pytest.mark.parametrize("options", SETTLERS, ids=lambda options: options["settler"])
def test_every_settler_rests_where_the_velocity_with_biases_is_zero(options):
    numbers = {"step_size": 0.3, "leak": 0.2, "weight_scale": 0.5, "tolerance": 1e-5}
    circuit = gncn.chain((6, 5, 4), bias=True, activation="tanh", feedback="tied")
    model = perturb(gncn.build(circuit, seed=0, n_settle_steps=3000, **options, **numbers), 1)
    settled, oracle = gncn.settle(model, images(3)), Oracle(model)
    assert settled.converged.all()
    for row in range(3):
        z = [np.asarray(states[row], float) for states in settled.latents]
        h, zbar = oracle.predictions(z)
        e = oracle.errors(z, zbar)
        for layer in (1, 2):
            assert np.abs(oracle.change(layer, z, h, e)).max() < 1e-3


@pytest.mark.parametrize("compared", ["state", "activity"])
def test_samples_have_the_mean_that_biases_give(compared):
    model = network(compared=compared)
    code = np.array([[0.3, -1.0, 2.0, 0.0]])
    w0, w1 = (np.asarray(one.forward, float) for one in model.connections)
    b0, b1 = biases(model)
    below = np.maximum(np.tanh(code) @ w1.T + b1, 0)
    drive = (below if compared == "activity" else np.tanh(below)) @ w0.T + b0
    np.testing.assert_allclose(gncn.core.inference.decode(model, code), drive, rtol=1e-5)
    many = model.layers[0].errors.sample(
        jax.random.key(0), jnp.broadcast_to(jnp.asarray(drive, jnp.float32), (20_000, 6))
    )
    np.testing.assert_allclose(many.mean(0), sigmoid(drive[0]), atol=0.015)


def test_missing_pixels_are_completed_from_the_bias():
    model = eqx.tree_at(lambda one: one.layers[0].bias.values, silent("bernoulli"), jnp.arange(6.0))
    visible = np.array([True, False] * 3)
    x = images(2)
    found = np.asarray(gncn.Completer(model, "silent", 5)(x, visible))
    np.testing.assert_array_equal(found[:, visible], x[:, visible])
    wanted = np.tile(sigmoid(np.arange(6.0)), (2, 1))
    np.testing.assert_allclose(found[:, ~visible], wanted[:, ~visible], rtol=1e-5)


def test_saved_and_loaded_they_are_the_same(tmp_path):
    model = network(bias=[False, True])
    gncn.save(model, tmp_path)
    again = gncn.load(tmp_path)
    assert again.circuit == model.circuit
    assert [layer.bias for layer in again.circuit.layers] == [False, True, False]
    for name, array in named_arrays(model).items():
        np.testing.assert_array_equal(named_arrays(again)[name], array)
    assert "bias" not in (tmp_path / "model.json").read_text(encoding="utf-8").replace(
        '"bias": true', "", 1
    )


class Killed(BaseException):
    """Stands for a process that was killed."""


class Killer:
    """Kills after the second epoch, of which no checkpoint is left."""

    def on_epoch(self, records, networks):
        if records[0].epoch == 2:
            raise Killed


@pytest.mark.slow
def test_a_training_that_was_killed_goes_on_to_the_same_bytes(tmp_path):
    data = gncn.from_arrays(images(40), n_validation=5, n_test=5)
    config = gncn.TrainingConfig(n_epochs=3, batch_size=7)

    def train(**options):  # two trials, each with biases of its own
        return gncn.fit([network(), network()], data, config, seeds=(0, 1), **options)

    whole = train()
    with pytest.raises(Killed):
        train(checkpoints=tmp_path, callbacks=[Killer()])
    again = train(resume_from=tmp_path)
    pairs = zip(again.networks, whole.networks, strict=True)
    for one, other in ((biases(a), biases(b)) for a, b in pairs):
        assert [values.tobytes() for values in one] == [values.tobytes() for values in other]
        assert all((now != then).all() for now, then in zip(one, biases(network()), strict=True))
    first, second = (biases(model)[0] for model in whole.networks)
    assert not np.array_equal(first, second)


def test_they_count_as_synapses():
    sizes = (6, 5, 4)
    plain, one, all_of = (
        gncn.chain(sizes, bias=bias).n_synapses for bias in (False, [True, False], True)
    )
    assert (one - plain, all_of - plain) == (6, 11)


def test_toml_and_estimators_take_them():
    config = gncn.load_config(overrides=["network.bias=[true,false,true]"])
    layers = config.network.circuit(9).layers
    assert [layer.bias for layer in layers] == [True, False, True, False]
    assert "bias = [\n    true," in config.to_toml()
    assert "bias" not in gncn.load_config().to_toml()
    options = gncn.GNCN(bias=[True, False, False]).get_params()
    chosen = config_of("gncn", None, 0, {"sizes": (5, 5, 5), "bias": options["bias"]})
    assert chosen.network.bias == (True, False, False)


@pytest.mark.parametrize(
    ("bias", "message"),
    [
        ([True], r"bias takes one value for all or 2 values, one each; received 1: \[True\]"),
        ("yes", "bias must be true or false; received 'yes'"),
        (1, "bias must be true or false; received 1"),
    ],
)
def test_other_values_are_refused(bias, message):
    with pytest.raises(ConfigError, match=message):
        gncn.chain((6, 5, 4), bias=bias)


def test_a_layer_that_nothing_predicts_has_none():
    layers = (gncn.Layer(size=6, likelihood="gaussian"), gncn.Layer(size=4, bias=True))
    with pytest.raises(ConfigError, match=r"layer 1 is predicted by no other.*received bias=True"):
        gncn.Circuit(layers=layers, connections=(gncn.Dense(source=1, target=0),))
