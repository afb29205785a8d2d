"""Descriptions: what is counted, what is refused and how, and what survives JSON."""

import base64
import json
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn import Circuit, Dense, Layer, Matrix
from gncn.base.errors import ConfigError
from gncn.core.activations import ACTIVATIONS
from gncn.core.chain import Chain
from gncn.core.competition import Columns, Mask

PAPER = gncn.load_config(preset="paper").network.circuit(784)


def n_numbers(network):
    """Entries of all W, E and Σ⁻¹."""
    parts = (network.connections, [layer.errors for layer in network.layers])
    return sum(array.size for array in jax.tree.leaves(parts))


def test_the_papers_settings_count_1342080_synapses():
    assert PAPER.sizes == (784, 360, 360, 360)
    assert PAPER.n_synapses == 1_342_080
    assert n_numbers(gncn.build(PAPER, seed=0)) == 1_342_080


@pytest.mark.parametrize("feedback", ["learned", "tied", "exact", "random"])
@pytest.mark.parametrize("precision", ["off", "diagonal", "full"])
def test_the_count_is_that_of_the_arrays(feedback, precision):
    circuit = gncn.chain((7, 6, 4), feedback=feedback, precision=precision, initial_state=0.1)
    assert circuit.n_synapses == n_numbers(gncn.build(circuit, seed=0))


class Narrowing(Dense):
    """Predicts fewer neurons than it has."""

    def check(self, n_source, n_target):
        if n_source <= n_target:
            raise ConfigError(f"{n_source} neurons can't narrow to {n_target}.")


def test_a_connection_may_refuse_the_sizes_of_its_layers():
    down = Narrowing(source=1, target=0)
    Circuit(layers=(Layer(size=4), Layer(size=6)), connections=(down,))
    with pytest.raises(ConfigError, match="3 neurons can't narrow to 4"):
        Circuit(layers=(Layer(size=4), Layer(size=3)), connections=(down,))


def test_a_circuit_survives_json():
    assert Circuit(**json.loads(PAPER.model_dump_json())) == PAPER
    assert hash(Circuit(**json.loads(PAPER.model_dump_json()))) == hash(PAPER)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sizes": (4, 10), "competition": "columns", "group_size": 3}, "1, 2, 5, 10"),
        ({"sizes": (4, 10), "competition": "columns"}, "needs `group_size`"),
        ({"sizes": (4, 10), "group_size": 5}, "competition='none', group_size=5"),
        ({"sizes": (4, 10), "competition": "band", "band_width": 10}, "less than the layer's 10"),
        ({"sizes": (4, 10), "activation": "rleu"}, "Unknown activation 'rleu'.*'relu'"),
        ({"sizes": (4, 10), "activation": "k_winners"}, "needs `winners`"),
        ({"sizes": (4, 10), "activation": "k_winners", "winners": 11}, "winners=11 exceeds"),
        (
            {"sizes": (4, 10), "winners": 3},
            "winners is an option of activation='k_winners'.*'relu', winners=3",
        ),
        ({"sizes": (4, 10, 5), "precision": ("off", "full")}, "one value for all or 1 values"),
        (
            {"sizes": (4, 10), "output_precision": "full"},
            "precision is an option of likelihood='gaussian'.*'bernoulli', precision='full'",
        ),
        ({"sizes": (4, 10), "output_activation": "relu"}, "prediction_activation='sigmoid'"),
        ({"sizes": (4, 10), "max_norm": 0.0, "norm": "unit"}, "max_norm.*received 0.0"),
        ({"sizes": (4, 10), "max_norm": 2.0}, "norm='off' holds no length.*'max_norm': 2.0"),
        (
            {"sizes": (4, 10), "norm": "unit", "max_feedback_norm": 2.0, "feedback": "tied"},
            "max_feedback_norm.*2.0 with feedback='tied'",
        ),
        ({"sizes": (4, -1)}, "greater than 0; received -1"),
        ({"sizes": (4,)}, "at least one latent layer"),
    ],
)
def test_wrong_options_are_refused_with_value_and_choices(options, message):
    with pytest.raises(ConfigError, match=message):
        gncn.chain(**options)


def test_an_unknown_choice_is_refused_with_all_choices():
    choices = "'learned', 'tied', 'exact', 'random'"
    with pytest.raises(ConfigError, match=f"Unknown feedback 'backprop'.*{choices}"):
        gncn.Config(network={"feedback": "backprop"})


def test_unknown_options_are_listed():
    with pytest.raises(ConfigError, match=r"Unknown option 'colour' for Layer. Options: 'size'"):
        Layer(size=3, colour="red")


def test_wirings_that_make_no_sense_are_refused():
    data = Layer(size=4, prediction_activation="sigmoid", likelihood="bernoulli")
    latent = Layer(size=3)
    down = Dense(source=1, target=0)
    with pytest.raises(ConfigError, match="source must exceed target"):
        Dense(source=1, target=1)
    with pytest.raises(ConfigError, match="layer 2 predicts no other layer"):
        Circuit(layers=(data, latent, latent), connections=(down,))
    with pytest.raises(ConfigError, match="connection leaves layer 2"):
        Circuit(layers=(data, latent), connections=(down, Dense(source=2, target=0)))
    with pytest.raises(ConfigError, match="connected to layer 0 twice"):
        Circuit(layers=(data, latent), connections=(down, down))
    with pytest.raises(ConfigError, match="only layer 0 can be 'bernoulli'"):
        Circuit(layers=(data, data, latent), connections=(down, Dense(source=2, target=1)))
    with pytest.raises(ConfigError, match="layer 1 is predicted by no other.*precision='full'"):
        Circuit(layers=(data, Layer(size=3, precision="full")), connections=(down,))
    exact = Dense(source=2, target=1, feedback="exact")
    with pytest.raises(ConfigError, match="only if every connection has it; received it for some"):
        Circuit(layers=(data, latent, latent), connections=(down, exact))
    with pytest.raises(ConfigError, match="layer 0 is the data: it takes no competition"):
        Circuit(
            layers=(Layer(size=4, competition="columns", group_size=2), latent),
            connections=(down,),
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"seed": None}, "a key or a seed"),
        ({"n_settle_steps": 0}, "received 0"),
        ({"tolerance": 0.0}, r"tolerance: .* greater than 0; received 0\.0"),
        ({"step_size": 0.0}, "step_size must be finite and above 0"),
        ({"step_size": (0.1, 0.1)}, "one value for all or 1 values"),
        ({"leak": float("nan")}, "leak must be finite"),
        ({"lateral_inhibition": -0.1}, "lateral_inhibition must be finite and at least 0"),
        ({"weight_scale": 0.0}, "weight_scale"),
        ({"initial_precision": -1.0}, "initial_precision"),
        ({"masks": {1: np.eye(3)}}, "Unknown option 'masks' for settling. Options: 'settler', 's"),
        ({"self_excitation": 0.4}, "self_excitation=0.4 has no effect .* without competition"),
        ({"lateral_inhibition": 0.4}, "lateral_inhibition=0.4 has no effect"),
        ({"initial_precision": 0.4}, "initial_precision=0.4 has no effect .* without precision"),
    ],
)
def test_wrong_numbers_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        gncn.build(gncn.chain((4, 3)), **{"seed": 0, **options})


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.eye(2), r"\(3, 3\); received \(2, 2\)"),
        (np.ones((3, 2)), r"square matrix; received shape \(3, 2\)"),
        (np.full((3, 3), 1e300), r"values in \[0, 1\]"),
        (1e300, r"square matrix; received shape \(\)"),
        (np.full((3, 3), 1j), "matrix of numbers: they are complex"),
        (2 * np.eye(3), r"\[0, 1\]"),
        (np.full((3, 3), np.nan), r"\[0, 1\]"),
        ("AAAA", "can't be unpacked"),
        (base64.b64encode(zlib.compress(bytes(8))).decode(), "square matrix of float32"),
        (base64.b64encode(zlib.compress(bytes(36))[:-6]).decode(), "square matrix of float32"),
        (None, "needs `mask`"),
    ],
)
def test_masks_are_checked(mask, message):
    with pytest.raises(ConfigError, match=message):
        gncn.chain((4, 3), competition="matrix", mask=mask)


def test_rows_of_different_lengths_are_no_mask():
    with pytest.raises(ConfigError, match=r"matrix of numbers: .*inhomogeneous"):
        gncn.chain((4, 3), competition={"kind": "matrix", "mask": [[1], [1, 2], [1]]})


def test_a_mask_survives_json_as_a_text():
    mask = np.random.default_rng(0).uniform(size=(3, 3)).astype(np.float32)
    circuit = gncn.chain((4, 3), competition="matrix", mask=mask)
    described = circuit.describe()
    assert isinstance(described["layers"][1]["competition"]["mask"], str)
    again = Circuit(**json.loads(json.dumps(described)))
    assert again == circuit
    assert hash(again) == hash(circuit)
    np.testing.assert_array_equal(again.layers[1].competition.mask.values, mask)
    other = Matrix(mask=mask.T)
    assert other != circuit.layers[1].competition
    assert other == Matrix(mask=mask.T.tolist())
    with pytest.raises(ValueError, match="read-only"):
        again.layers[1].competition.mask.values[0, 0] = 1.0


def test_a_description_makes_every_part_again():
    circuit = Circuit(
        layers=(
            Layer(size=6, prediction_activation="sigmoid", likelihood="bernoulli"),
            Layer(
                size=6,
                activation="k_winners",
                winners=2,
                competition="columns",
                group_size=3,
                precision="full",
            ),
            Layer(size=5, activation="tanh", competition="band", band_width=2, non_negative=True),
        ),
        connections=(
            Dense(source=1, target=0, feedback="random"),
            Dense(source=2, target=1, norm="clipped", max_norm=1.5, max_feedback_norm=0.5),
        ),
        compared="activity",
        competing="activity",
        initial_state=0.2,
    )
    described = circuit.describe()
    assert described["layers"][1]["activation"] == {"kind": "k_winners", "winners": 2}
    assert described["layers"][1]["competition"] == {"kind": "columns", "group_size": 3}
    assert described["layers"][1]["likelihood"] == {"kind": "gaussian", "precision": "full"}
    assert described["layers"][2]["activation"] == "tanh"
    assert described["connections"][0]["kind"] == "dense"
    assert Circuit(**json.loads(json.dumps(described))) == circuit


def test_what_has_no_name_can_not_be_described():
    class Alone(gncn.Competition):
        def rival_sum(self, signal, products="float32"):
            return 0 * signal

    circuit = gncn.chain((4, 3), competition=Alone())
    with pytest.raises(ConfigError, match=r"Alone has no name.*gncn.register\('competition', name"):
        circuit.describe()
    circuit = gncn.chain((4, 3), activation=lambda x: x**2)
    with pytest.raises(ConfigError, match=r"<lambda> has no name.*gncn.register\('activation'"):
        circuit.describe()


@pytest.mark.parametrize("activation", ["relu", "sign", "heaviside"])
def test_a_start_that_exact_gradients_never_leave_is_refused(activation):
    circuit = gncn.chain((4, 3), activation=activation, feedback="exact")
    with pytest.raises(ConfigError, match="never leaves initial_state=0.0"):
        gncn.build(circuit, seed=0)
    gncn.build(gncn.chain((4, 3), activation=activation, feedback="tied"), seed=0)


@pytest.mark.parametrize(("axis", "summed"), [("sending", 0), ("receiving", 1)])
def test_norms_are_held_on_the_axis_asked_for(axis, summed):
    def lengths(norm, scale):
        circuit = gncn.chain((6, 5, 4), norm=norm, max_norm=(0.5, 2.0), norm_axis=axis)
        network = gncn.build(circuit, seed=0, weight_scale=scale)
        pairs = [(c.forward, c.feedback.weights) for c in network.connections]
        return [[np.linalg.norm(m, axis=summed) for m in pair] for pair in pairs]

    for limit, pair in zip((0.5, 2.0), lengths("unit", 0.05), strict=True):
        for found in pair:
            np.testing.assert_allclose(found, limit, rtol=1e-5)
    for limit, pair in zip((0.5, 2.0), lengths("clipped", 5.0), strict=True):
        for found in pair:
            np.testing.assert_allclose(found, limit, rtol=1e-5)
    assert all((found < 0.5).all() for pair in lengths("clipped", 0.01) for found in pair)
    both = gncn.chain((6, 5), norm="unit", max_norm=2.0, max_feedback_norm=0.5, norm_axis=axis)
    (dense,) = gncn.build(both, seed=0).connections
    for weights, limit in ((dense.forward, 2.0), (dense.feedback.weights, 0.5)):
        np.testing.assert_allclose(np.linalg.norm(weights, axis=summed), limit, rtol=1e-5)
    free = gncn.build(gncn.chain((6, 5), norm="clipped", norm_axis=axis), seed=0, weight_scale=0.01)
    loose = gncn.build(gncn.chain((6, 5)), seed=0, weight_scale=0.01)
    np.testing.assert_array_equal(free.connections[0].forward, loose.connections[0].forward)


def test_random_feedback_keeps_its_length():
    circuit = gncn.chain((6, 5), norm="unit", feedback="random")
    (dense,) = gncn.build(circuit, seed=0, weight_scale=0.05).connections
    assert np.abs(np.linalg.norm(dense.feedback.weights, axis=0) - 1).min() > 0.5


def test_a_layers_weights_are_drawn_with_the_scale_asked_for():
    (dense,) = gncn.build(gncn.chain((300, 200)), seed=0, weight_scale=0.07).connections
    for weights in (dense.forward, dense.feedback.weights):
        assert float(jnp.std(weights)) == pytest.approx(0.07, rel=4 / np.sqrt(2 * weights.size))


def test_the_sigmoid_is_the_logistic_function_and_stays_within_its_range():
    drive = np.concatenate([np.linspace(-30, 30, 4001), [-1e30, -200.0, 200.0, 1e30]])
    found = ACTIVATIONS.resolve("sigmoid")(jnp.asarray(drive, jnp.float32)[None])
    expected = 1 / (1 + np.exp(-np.clip(drive, -700, 700)))
    np.testing.assert_allclose(found[0], expected, rtol=0, atol=2e-7)
    assert 0 <= found.min() <= found.max() <= 1


def test_a_registered_callable_is_an_activation():
    def cube(x):
        return x**3

    gncn.register("activation", "cube", cube)
    gncn.register("activation", "cube", cube)
    assert "cube" in gncn.registered("activation")
    with pytest.raises(ConfigError, match="'cube' is taken"):
        gncn.register("activation", "cube", jnp.sin)
    x = jnp.asarray([[1.0, 0.0, 1.0]])
    by_name, direct = (
        gncn.settle(gncn.build(gncn.chain((3, 2), activation=phi), seed=0), x)
        for phi in ("cube", cube)
    )
    np.testing.assert_array_equal(by_name.latents[1], direct.latents[1])


def test_a_mask_is_shown_by_its_size():
    assert repr(Mask(np.eye(3))) == "Mask of 3 neurons"


def test_only_a_circuit_is_built(unchecked):
    with pytest.raises(ConfigError, match=r"`build` takes a circuit, .*; received \(4, 3\)"):
        gncn.build((4, 3), seed=0)


def test_a_seed_stands_for_its_key():
    circuit = gncn.chain((4, 3, 2))
    by_seed, by_key = gncn.build(circuit, seed=5), gncn.build(circuit, key=jax.random.key(5))
    other = gncn.build(circuit, key=jax.random.key(6))
    for a, b in zip(jax.tree.leaves(by_seed), jax.tree.leaves(by_key), strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.any(by_key.connections[0].forward != other.connections[0].forward)


def test_a_chain_has_a_latent_layer():
    with pytest.raises(ConfigError, match="at least one latent layer; received sizes="):
        Chain(sizes=()).circuit(4)


def test_a_part_given_as_an_object_is_described_as_a_table():
    chain = Chain(sizes=(4, 2), competition=Columns(group_size=2))
    assert chain.resolved()["competition"] == {"kind": "columns", "group_size": 2}
    assert Chain(**chain.resolved()).circuit(5) == chain.circuit(5)
