"""Parts that return something else than they must are refused where networks are built."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn.base.errors import ConfigError, DataError
from gncn.core.probe import probe
from gncn.core.returned import array_of, check_returned


def made(base, **methods):
    """A part whose class is no file's."""
    return type("Mine", (base,), methods)


def moved(network, latents):
    return network.moved(latents, network.velocity(latents))


class Plain(gncn.Settler):
    def plain_step(self, network, prepared, latents):
        return moved(network, latents)


class Signs(gncn.ErrorNeurons):
    def mean(self, drive):
        return drive

    def error(self, actual, drive):
        return jnp.sign(actual - drive)

    def log_prob(self, actual, drive):
        return -jnp.sum(jnp.abs(actual - drive), axis=-1)

    def gradient(self, actual, drive):
        return self.error(actual, drive)

    def sample(self, key, drive):
        return drive

    def sharpness(self, pixel_variance):
        return jnp.zeros(())


class Plus(gncn.Synapses):
    """Layers of one size: states are the prediction, plus a number that is learned."""

    weights: jax.Array
    source = property(lambda self: 1)
    target = property(lambda self: 0)
    plastic = property(lambda self: self.weights)

    def predict(self, sent):
        return sent + self.weights

    def send_up(self, error):
        return error

    def update(self, error, sent):
        return error.sum()

    def learned(self, direction, rate, feedback_rate):
        return type(self)(self.weights + rate * direction)


@pytest.mark.parametrize(
    ("activation", "gave"),
    [
        (lambda x: x[:, :1], r"f32\[1,4\] for f32\[1,4\]; it gave f32\[1,1\]"),
        (lambda x: jnp.zeros((1, 4)), r"f32\[3,4\] for f32\[3,4\]; it gave f32\[1,4\]"),
        (lambda x: x > 0, r"it gave bool\[1,4\]"),
        (lambda x: None, "it gave None"),
        (np.tanh, "it raised TracerArrayConversionError"),
        (lambda x: x if x.sum() > 0 else -x, "it raised TracerBoolConversionError"),
    ],
)
def test_activations(activation, gave):
    name = f"made-{id(activation)}"
    gncn.register("activation", name, activation)
    try:
        for form in (activation, name):
            with pytest.raises(ConfigError, match=f"activation .* must return .*{gave}"):
                gncn.Layer(size=4, activation=form)
    finally:
        del gncn.core.activations.ACTIVATIONS._entries[name]


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (
            {"rival_sum": lambda self, signal, products: signal.sum(-1, keepdims=True)},
            r"The competition Mine\.rival_sum must return f32\[1,5\] for \(f32\[1,5\], 'float32'\)"
            r"; it gave f32\[1,1\]",
        ),
        ({"rival_sum": lambda self, signal, products: None}, "it gave None"),
        ({"rival_sum": lambda self, signal, products: signal[:1]}, r"f32\[3,5\].*gave f32\[1,5\]"),
        ({"rival_sum": lambda self, signal: signal}, "raised TypeError: .*2 positional"),
        ({"drive": lambda self, *_: 0.0}, r"Mine\.drive must return f32\[1,5\].*gave 0\.0"),
        ({"bound": lambda self, size: jnp.ones(size)}, r"f32\[5,5\] for 5; it gave f32\[5\]"),
    ],
)
def test_competitions(methods, message):
    whole = {"rival_sum": lambda self, signal, products: signal} | methods
    circuit = gncn.chain((6, 5), competition=made(gncn.Competition, **whole)())
    with pytest.raises(ConfigError, match=message):
        gncn.build(circuit, seed=0)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        (
            {"plain_step": lambda self, network, _, z: moved(network, z)[:-1]},
            r"settler Mine\.plain_step must return \(f32\[1,6\], f32\[1,5\]\) .*gave f32\[1,6\]",
        ),
        ({"step": lambda self, network, _, z, state: moved(network, z)}, r"Mine\.step must return"),
        (
            {
                "init": lambda self, network, z: jnp.zeros(1),
                "step": lambda self, network, _, z, s: (moved(network, z), jnp.append(s, 0.0)),
            },
            r"f32\[1\]\); it gave \(\(f32\[1,6\], f32\[1,5\]\), f32\[2\]\)",
        ),
        ({"init": lambda self, network, z: "none"}, r"Mine\.init is given .*raised TypeError"),
        (
            {"prepare": lambda self, network, last: "none"},
            r"Mine\.prepare is given 'the network'; .*raised",
        ),
    ],
)
def test_settlers(methods, message):
    with pytest.raises(ConfigError, match=message):
        gncn.build(gncn.chain((6, 5)), seed=0, settler=made(Plain, **methods)())


@pytest.mark.parametrize("first", [0, 0.0, jnp.zeros(())])
def test_a_settler_may_remember_numbers_of_python(first):
    def step(self, network, prepared, latents, state):
        return moved(network, latents), state + 1

    kind = made(Plain, init=lambda self, network, z: first, step=step)
    network = gncn.build(gncn.chain((6, 5)), seed=0, settler=kind(n_settle_steps=4))
    plain = gncn.build(gncn.chain((6, 5)), seed=0, n_settle_steps=4)
    image = np.ones((1, 6))
    np.testing.assert_allclose(
        gncn.settle(network, image).latents[1], gncn.settle(plain, image).latents[1], rtol=1e-5
    )


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({"mean": lambda self, h: h.mean()}, r"Mine\.mean must return f32\[1,6\]"),
        ({"error": lambda self, x, h: None}, r"Mine\.error must return .* gave None"),
        ({"log_prob": lambda self, x, h: x - h}, r"log_prob must return f32\[1\] .*f32\[1,6\]"),
        ({"gradient": lambda self, x, h: x[0]}, r"Mine\.gradient must return f32\[1,6\]"),
        ({"update": lambda self, x, h: ()}, r"Mine\.update is given .*raised TypeError"),
        ({"learned": lambda self, *_: None}, r"Mine\.learned must return Mine\(\) .*gave None"),
    ],
)
def test_likelihoods(methods, message):
    neurons = made(Signs, **methods)
    kind = made(gncn.Likelihood, build=lambda self, *_: neurons())
    with pytest.raises(ConfigError, match=message):
        gncn.build(gncn.chain((6, 5), likelihood=kind()), seed=0)


@pytest.mark.parametrize(
    ("methods", "message"),
    [
        ({}, None),
        ({"predict": lambda self, z: z[:, :1]}, r"Mine\.predict must return f32\[1,6\]"),
        ({"send_up": lambda self, e: e.T}, r"Mine\.send_up must return f32\[1,6\] .*f32\[6,1\]"),
        ({"update": lambda self, e, z: e}, r"Mine\.update must return f32\[\] .*gave f32\[1,6\]"),
        ({"learned": lambda self, *_: self.weights}, r"Mine\.learned must return Mine\("),
    ],
)
def test_connections(methods, message):
    synapses = made(Plus, **methods)
    kind = made(
        gncn.Connection,
        n_synapses=lambda self, *_: 1,
        build=lambda self, *_: synapses(jnp.zeros(())),
    )
    layers = (gncn.Layer(size=6), gncn.Layer(size=6))
    circuit = gncn.Circuit(layers=layers, connections=(kind(source=1, target=0),))
    if message is None:
        assert gncn.build(circuit, seed=0).connections[0].weights == 0
        return
    with pytest.raises(ConfigError, match=message):
        gncn.build(circuit, seed=0)


def test_the_librarys_own_parts_cost_nothing():
    network = gncn.build(gncn.chain((64, 40, 40, 40), competition="columns", group_size=4), seed=0)
    took = []
    for _ in range(5):
        began = time.perf_counter()
        probe(network)
        took.append(time.perf_counter() - began)
    assert min(took) < 0.005


def test_what_is_no_array_must_be_the_same():
    check_returned("It", (array_of(2), 3), lambda x: (x, 3), array_of(2))
    with pytest.raises(ConfigError, match=r"It must return .*; it gave"):
        check_returned("It", (array_of(2), 3), lambda x: (x, 4), array_of(2))


def test_an_error_of_the_library_passes_as_it_is():
    def refuse(_):
        raise DataError("As it was.")

    with pytest.raises(DataError) as passed:
        check_returned("It", ..., refuse, array_of(2))
    assert str(passed.value) == "As it was."


class Half(gncn.Synapses):
    """Lacks what synapses need."""


def failing(*_):
    raise TypeError("something else")


@pytest.mark.parametrize(
    ("build", "error", "message"),
    [
        (
            lambda *_: Half(),  # pyright: ignore[reportAbstractUsage] (on purpose)
            ConfigError,
            r"Mine\.build: .*abstract.*; `gncn\.Synapses` needs them",
        ),
        (lambda *_: 7, ConfigError, r"Mine\.build must return `gncn\.Synapses`; it gave 7"),
        (failing, TypeError, "^something else$"),
    ],
)
def test_what_a_connection_builds(build, error, message):
    kind = made(gncn.Connection, build=build, n_synapses=lambda *_: 4)
    layers = (gncn.Layer(size=2), gncn.Layer(size=2))
    circuit = gncn.Circuit(layers=layers, connections=(kind(source=1, target=0),))
    with pytest.raises(error, match=message):
        gncn.build(circuit, seed=0)
