"""Options of parts written next to the part's name: `Layer`, `chain` and `build`."""

import numpy as np
import pytest

import gncn
from gncn import Band, Bernoulli, Chain, Columns, Dense, Gaussian, KWinners, Layer, Matrix, Settling
from gncn.base.errors import ConfigError

MASK = np.eye(6)[::-1]


@pytest.mark.parametrize(
    ("flat", "parts"),
    [
        ({"competition": "columns", "group_size": 3}, {"competition": Columns(group_size=3)}),
        ({"competition": "band", "band_width": 2}, {"competition": Band(band_width=2)}),
        ({"competition": "matrix", "mask": MASK}, {"competition": Matrix(mask=MASK)}),
        ({"activation": "k_winners", "winners": 2}, {"activation": KWinners(winners=2)}),
        (
            {"prediction_activation": "k_winners", "winners": 2},
            {"prediction_activation": KWinners(winners=2)},
        ),
        ({"precision": "full"}, {"likelihood": Gaussian(precision="full")}),
        (
            {"likelihood": "gaussian", "precision": "diagonal"},
            {"likelihood": Gaussian(precision="diagonal")},
        ),
        (
            {"likelihood": "bernoulli", "prediction_activation": "sigmoid"},
            {"likelihood": Bernoulli(), "prediction_activation": "sigmoid"},
        ),
        ({"competition": "none"}, {}),
        ({"likelihood": {"kind": "gaussian", "precision": "full"}}, {"precision": "full"}),
    ],
)
def test_flat_options_equal_objects(flat, parts):
    found, wanted = Layer(size=6, **flat), Layer(size=6, **parts)
    assert found == wanted
    assert hash(found) == hash(wanted)


def test_an_option_of_two_parts_goes_to_both():
    layer = Layer(size=6, activation="k_winners", prediction_activation="k_winners", winners=2)
    assert layer.activation == layer.prediction_activation == KWinners(winners=2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"group_size": 3},
            "group_size is an option of competition='columns', and no other takes it; received "
            "competition='none', group_size=3",
        ),
        (
            {"competition": "band", "band_width": 1, "group_size": 3},
            "competition='columns'.*received competition='band', group_size=3",
        ),
        (
            {"competition": Columns(group_size=3), "group_size": 2},
            r"is given with its options.*competition=Columns\(group_size=3\), group_size=2",
        ),
        ({"winners": 2}, "activation='k_winners'.*received activation='relu', winners=2"),
        (
            {"likelihood": "bernoulli", "precision": "full", "prediction_activation": "sigmoid"},
            "likelihood='gaussian'.*received likelihood='bernoulli', precision='full'",
        ),
        ({"competition": "columns"}, "competition='columns' needs `group_size`; received none"),
        ({"competition": "band"}, "competition='band' needs `band_width`; received none"),
        ({"competition": "matrix"}, "competition='matrix' needs `mask`; received none"),
        ({"activation": "k_winners"}, "activation='k_winners' needs `winners`; received none"),
        ({"competition": "columns", "group_size": None}, "needs `group_size`; received none"),
        (
            {"competition": "columns", "group_size": "3"},
            "must be a number; received '3'",
        ),
        ({"competition": "columns", "group_size": True}, "must be a number; received True"),
        ({"competition": "columns", "group_size": 4}, "columns of 4.*1, 2, 3, 6"),
        ({"precision": "half"}, "'off', 'diagonal' or 'full'; received 'half'"),
        (
            {"colour": "red"},
            "Unknown option 'colour' for Layer. Options: 'size', 'activation'.*'winners', "
            "'group_size', 'band_width', 'mask', 'precision'",
        ),
    ],
)
def test_idle_missing_and_unknown_options_of_a_layer_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Layer(size=6, **options)


def test_a_chain_hands_options_to_the_layers_and_connections_that_take_them():
    circuit = gncn.chain(
        (8, 6, 4),
        competition=("columns", "band"),
        group_size=(3, None),
        band_width=(None, 1),
        activation=("k_winners", "tanh"),
        winners=(2, None),
        precision="full",
        output_precision="diagonal",
        likelihood="gaussian",
        feedback=("random", "learned"),
        norm=("off", "clipped"),
        max_norm=(None, 1.5),
        norm_axis="receiving",
    )
    by_hand = gncn.Circuit(
        layers=(
            Layer(size=8, likelihood=Gaussian(precision="diagonal")),
            Layer(
                size=6,
                activation=KWinners(winners=2),
                prediction_activation="relu",
                competition=Columns(group_size=3),
                likelihood=Gaussian(precision="full"),
            ),
            Layer(size=4, activation="tanh", competition=Band(band_width=1)),
        ),
        connections=(
            Dense(source=1, target=0, feedback="random", norm_axis="receiving"),
            Dense(source=2, target=1, norm="clipped", max_norm=1.5, norm_axis="receiving"),
        ),
    )
    assert circuit == by_hand


def test_one_value_goes_to_the_layers_whose_part_takes_it():
    circuit = gncn.chain((8, 6, 4), competition=("columns", "none"), group_size=3)
    assert circuit == gncn.chain((8, 6, 4), competition=("columns", "none"), group_size=(3, None))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group_size": 3}, "competition='columns'.*received competition='none', group_size=3"),
        (
            {"competition": ("columns", "none"), "group_size": (3, 3)},
            "competition='columns'.*received competition='none', group_size=3",
        ),
        (
            {"competition": "columns", "group_size": (3, 2, 2)},
            "group_size takes one.*2 values",
        ),
        ({"feedback": ("tied",)}, "feedback takes one value for all or 2 values.*received 1"),
        ({"precision": ("full", "off")}, "precision takes one value for all or 1 values"),
        ({"connection": "sparse"}, "Unknown connection 'sparse'. Choose one of: 'dense'"),
        (
            {"likelihood": "poisson"},
            "Unknown likelihood 'poisson'.*: 'bernoulli', 'gaussian'",
        ),
        ({"norm": "short"}, "'off', 'unit' or 'clipped'; received 'short'"),
        (
            {"distribution": "gaussian"},
            "Unknown option 'distribution' for a chain. Options: 'sizes'.*'group_size'.*'feedback'",
        ),
        ({"output_group_size": 3}, "Unknown option 'output_group_size' for a chain"),
    ],
)
def test_idle_missing_and_unknown_options_of_a_chain_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        gncn.chain((8, 6, 4), **options)


def test_chains_that_say_the_same_are_equal():
    plain = Chain(sizes=(6, 4))
    assert plain == Chain(sizes=[6, 4], feedback="learned", precision="off", norm="off")
    assert hash(plain) == hash(Chain(sizes=[6, 4]))
    assert plain != Chain(sizes=(6, 4), feedback="tied")
    assert Chain(sizes=(6,), group_size=[3], competition=["columns"]) == Chain(
        sizes=(6,), group_size=(3,), competition=("columns",)
    )


@pytest.mark.parametrize(
    ("flat", "settler"),
    [
        ({}, gncn.Euler()),
        ({"n_settle_steps": 7, "tolerance": 0.1}, gncn.Euler(n_settle_steps=7, tolerance=0.1)),
        ({"settler": "sequential", "products": "bfloat16"}, gncn.Sequential(products="bfloat16")),
        (
            {"settler": "momentum", "momentum": 0.5, "n_settle_steps": 20},
            gncn.Momentum(momentum=0.5, n_settle_steps=20),
        ),
        (
            {"settler": "newton", "damping": 0.3, "pixel_variance": 0.2, "sequential": True},
            gncn.Newton(damping=0.3, pixel_variance=0.2, sequential=True),
        ),
    ],
)
def test_options_of_a_settler_stand_next_to_its_name(flat, settler):
    circuit = gncn.chain((6, 4))
    assert gncn.build(circuit, seed=0, **flat).settler == settler
    assert gncn.build(circuit, seed=0, settler=settler).settler == settler
    values = settler.model_dump()
    assert Settling(**flat).resolved().items() >= values.items()
    assert Settling(**Settling(**flat).resolved()).settler == settler


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"damping": 0.1},
            "an option of settler='newton'.*settler='euler', damping=0.1",
        ),
        (
            {"speed": 0.1},
            "Unknown option 'speed' for settling. Options: 'settler'.*'tolerance'",
        ),
        ({"settler": "anderson"}, "Unknown settler 'anderson'.*'euler'"),
        ({"settler": "newton", "damping": 0.1}, "settler='newton' needs `pixel_variance`"),
    ],
)
def test_idle_missing_and_unknown_options_of_settling_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        gncn.build(gncn.chain((6, 4)), seed=0, **options)


def test_a_connection_may_be_given_as_an_object():
    by_name = gncn.chain((8, 6, 4), feedback="tied", norm="unit")
    part = Dense(source=1, target=0, feedback="tied", norm="unit")
    assert gncn.chain((8, 6, 4), connection=part) == by_name
    assert gncn.chain((8, 6, 4), connection=[part, part]) == by_name
    table = {"kind": "dense", "feedback": "tied", "norm": "unit"}
    assert gncn.chain((8, 6, 4), connection=table) == by_name
    described = Chain(sizes=(6, 4), connection=part).resolved()
    assert described["connection"].items() >= table.items()
    assert Chain(**described).circuit(8) == by_name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"connection": {"kind": "dense", "norm": "unit"}, "feedback": "tied"},
            "connection is given with its options, so they can't stand next to it.*'tied'",
        ),
        (
            {"connection": Dense(source=1, target=0), "feedback": "tied"},
            "connection is given with its options.*feedback='tied'",
        ),
        (
            {"connection": {"kind": "dense", "feedback": "tied"}, "feedback": "learned"},
            "connection is given with its options.*feedback='learned'",  # the default
        ),
        (
            {"connection": {"kind": "dense", "source": 1}},
            "A chain decides source and target itself; received connection=",
        ),
        ({"connection": 3}, "an object, a name or a table with its 'kind'; received 3"),
    ],
)
def test_connections_given_wrongly_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        gncn.chain((8, 6, 4), **options)


def test_options_are_given_by_name():
    with pytest.raises(ConfigError, match=r"Dense takes its options by name \(source=..., target="):
        Dense(1, 0)  # type: ignore[call-arg]


def test_a_wiring_is_known_before_the_number_of_pixels():
    chain = Chain(sizes=(6,), likelihood="gaussian", output_activation=KWinners(winners=3))
    assert chain.wiring().n_latent == 1
    assert chain.circuit(8).layers[0].prediction_activation == KWinners(winners=3)
