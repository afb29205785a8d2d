"""A competition from outside the package does all that one from inside does."""

from pathlib import Path

import numpy as np
import pytest
from loops import settle

import gncn
from budget import later
from gncn.core.competition import COMPETITIONS

OPTIONS = {"competition": ("ring", "none"), "reach": (2, None), "feedback": "learned"}


@pytest.fixture(scope="module")
def ring(stranger):
    return stranger("ring")


def lateral(size, reach, excitation, inhibition):
    """V, entry by entry."""
    V = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            apart = min((i - j) % size, (j - i) % size)
            V[i, j] = -excitation if i == j else inhibition * (apart <= reach)
    return V


def test_it_takes_few_lines():
    lines = (Path(__file__).parent / "ring.py").read_text(encoding="utf-8").splitlines()
    assert len([line for line in lines if line.strip()]) < 60


def test_settling_equals_the_loops(ring, digits):
    circuit = gncn.chain((64, 9, 4), prediction_activation="identity", **OPTIONS)
    network = gncn.build(
        circuit,
        seed=1,
        n_settle_steps=6,
        step_size=0.2,
        leak=0.1,
        self_excitation=0.3,
        lateral_inhibition=0.25,
        weight_scale=0.5,
    )
    W = [np.array(c.forward, float) for c in network.connections]
    E = [np.array(c.feedback.weights, float) for c in network.connections]
    V = [lateral(9, 2, 0.3, 0.25), np.zeros((4, 4))]
    settled = gncn.settle(network, digits.test.images[:3])
    for index, image in enumerate(np.array(digits.test.images[:3], float)):
        states, *_ = settle(image, W, E, V, step_size=0.2, leak=0.1, n_steps=6)
        for found, wanted in zip(settled.latents[1:], states, strict=True):
            np.testing.assert_allclose(found[index], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "settler",
    [
        {"settler": "euler", "n_settle_steps": 10},
        later({"settler": "newton", "damping": 0.1, "pixel_variance": 0.25, "n_settle_steps": 3}),
    ],
    ids=lambda options: options["settler"],
)
def test_it_trains_and_comes_back_from_a_file(ring, digits, tmp_path, settler):
    circuit = gncn.chain((64, 20, 8), **OPTIONS)
    network = gncn.build(circuit, seed=0, **settler)
    images = digits.test.images[:20]
    fit = gncn.fit(network, digits, gncn.TrainingConfig(n_epochs=2))
    errors = [record.validation.error for record in fit.history]
    assert errors[-1] < errors[0]
    gncn.save(fit.network, tmp_path / "model")
    loaded = gncn.load(tmp_path / "model")
    assert loaded.circuit == circuit
    assert loaded.circuit.layers[1].competition == ring.Ring(reach=2)
    np.testing.assert_array_equal(
        gncn.reconstruct(loaded, images), gncn.reconstruct(fit.network, images)
    )


def test_toml_names_it(ring, digits, tmp_path):
    path = tmp_path / "ring.toml"
    path.write_text(
        'data.name = "digits"\n[network]\nsizes = [20, 8]\ncompetition = "ring"\nreach = [3, 2]\n',
        encoding="utf-8",
    )
    (network,) = gncn.load_config(file=path).models(digits)
    assert network.circuit.layers[2].competition == ring.Ring(reach=2)


def test_what_does_not_fit_is_refused(ring):
    with pytest.raises(gncn.ConfigError, match="reach=5 must be less than half of the layer's 9"):
        gncn.Layer(size=9, competition="ring", reach=5)
    with pytest.raises(gncn.ConfigError, match="competition='ring' needs `reach`"):
        gncn.Layer(size=9, competition="ring")
    with pytest.raises(gncn.ConfigError, match="reach is an option of competition='ring'"):
        gncn.Layer(size=9, competition="none", reach=1)


def test_a_file_that_names_an_unknown_part_says_what_to_do(ring, tmp_path):
    gncn.save(gncn.build(gncn.chain((64, 20, 8), **OPTIONS), seed=0), tmp_path / "model")
    entries = COMPETITIONS._entries
    known = entries.pop("ring")
    try:
        with pytest.raises(gncn.GncnError, match=r"'ring'.*gncn\.register"):
            gncn.load(tmp_path / "model")
    finally:
        entries["ring"] = known
