"""What people see of circuits, networks and other models: `print`, and the drawing."""

import re
from xml.etree import ElementTree

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn.baselines.blueprint import plan_blueprint
from gncn.baselines.kinds import start_baseline
from gncn.baselines.pixel_mixture import PixelMixture
from gncn.evaluation.mixture_fit import fit_mixture

SVG = "{http://www.w3.org/2000/svg}"


def square(x):
    return x * x


def circuit(activation="tanh"):
    return gncn.Circuit(
        layers=(
            gncn.Layer(size=64, likelihood="gaussian", precision="diagonal", bias=True),
            gncn.Layer(
                size=1200, prediction_activation="relu", competition="columns", group_size=8
            ),
            gncn.Layer(size=30, activation=gncn.KWinners(winners=4), non_negative=True),
            gncn.Layer(size=20, activation=activation),
        ),
        connections=(
            gncn.Dense(source=1, target=0),
            gncn.Dense(source=2, target=1, feedback="tied", norm="clipped", max_norm=2.0),
            gncn.Dense(source=3, target=2),
            gncn.Dense(source=3, target=0, feedback="random"),
        ),
        compared="activity",
    )


def test_a_network_prints_its_essentials():
    network = gncn.build(circuit(square), seed=0, n_settle_steps=20, step_size=(0.1, 0.2, 0.3))
    synapses = 2 * (64 * 1200 + 30 * 20 + 64 * 20) + 1200 * 30 + 64 + 64  # Σ⁻¹ and b of the data
    assert str(network).splitlines() == [
        f"Network of {synapses:,} synapses, 3 latent layers, errors of activities",
        "  layer 3: 20 neurons, square",
        "  layer 2: 30 neurons, k_winners(winners=4), non-negative",
        "  layer 1: 1,200 neurons, relu, predicted by relu, columns(group_size=8)",
        "  layer 0: 64 pixels, gaussian(precision=diagonal), with a bias",
        "  connections: 1→0, 3→2 dense; 2→1 dense(feedback=tied, norm=clipped, max_norm=2.0); "
        "3→0 dense(feedback=random)",
        "  settling: euler, T 20, β 0.1 to 0.3, γ 0.001, α_e 0.13, α_h 0.125",
    ]
    assert str(network.circuit) == str(network).rpartition("\n")[0].replace("Network", "Circuit")
    assert "forward=f32[64,1200]" in repr(network)  # every array


def test_settlers_print_their_options_and_like_layers_one_line():
    chain = gncn.chain((64, 40, 40, 40), prediction_activation="identity")
    settler = {"settler": "momentum", "momentum": 0.5, "tolerance": 0.01, "n_settle_steps": 9}
    lines = str(gncn.build(chain, seed=0, **settler)).splitlines()
    assert lines[1] == "  layers 1 to 3: 40 neurons, relu"
    assert lines[-1] == "  settling: momentum(tolerance=0.01, momentum=0.5), T 9, β 0.1, γ 0.001"
    assert len(lines) == 5


def test_deep_networks_print_a_few_lines():
    lines = str(gncn.chain((10, *range(5, 90)))).splitlines()
    assert lines[5:7] == ["  … 81 more …", "  layer 0: 10 pixels, bernoulli"]
    assert len(lines) == 8
    assert max(map(len, lines)) < 200


def test_a_network_prints_while_a_program_is_compiled():
    seen = []
    network = gncn.build(circuit(), seed=0)
    eqx.filter_jit(lambda one: seen.append(str(one)) or jnp.zeros(()))(network)
    assert "β unknown" in seen[0]


def test_data_sets_print_their_essentials():
    text = str(gncn.load_dataset("digits"))
    assert text.splitlines()[:4] == [
        "digits",
        "  train: 1,300 images of 64 binary pixels, 10 classes of 122 to 137 images",
        "  validation: 200 images of 64 binary pixels, 10 classes of 14 to 28 images",
        "  test: 297 images of 64 binary pixels, 10 classes of 27 to 33 images",
    ]
    assert re.search(r"\n  8×8 pixels; scikit-learn's .*binarised.*\n  licence: \w+", text)
    odd = gncn.from_arrays(
        np.linspace(-1, 1, 60).reshape(20, 3),
        [-1] * 18 + [0, 1],
        name="a\x1b[31m",
        binarisation="none",
        n_validation=1,
        n_test=1,
    )
    assert "\x1b" not in str(odd)
    assert " real-valued pixels" in str(odd)
    assert re.search(r"\d+ without a class", str(odd))
    assert str(gncn.Split(np.ones((2, 3), np.uint8))) == "2 images of 3 binary pixels, no labels"


def test_baselines_print_their_essentials():
    blueprint = plan_blueprint("gvae-cv", 784, n_latent=20, variance=0.1)
    assert str(start_baseline(blueprint, seed=0)).splitlines() == [
        "ConstantVarianceGVAE of 1,398,354 synapses, for 784 pixels",
        "  encoder: 784-525-525-20",
        "  decoder: 20-525-525-784",
        "  n_latent 20, variance 0.1",
    ]
    pixels = np.random.default_rng(0).random((30, 4), np.float32)
    text = str(PixelMixture(fit_mixture(pixels, 3, "full", seed=0).mixture, 0.01))
    assert text.startswith("PixelMixture of 3 Gaussians\n  on 4 pixels, covariance full\n")


def test_the_drawing_shows_layers_from_the_top_down_and_all_that_runs_among_them():
    network = gncn.build(circuit(), seed=0)
    assert network._repr_svg_() == network.circuit._repr_svg_() == network.circuit.svg()
    drawing = ElementTree.fromstring(network.circuit.svg())
    heads = {
        one.text: int(one.attrib["y"])
        for one in drawing.iter(f"{SVG}text")
        if one.attrib["font-weight"] == "bold"
    }
    assert sorted(heads, key=heads.__getitem__) == [
        "layer 3: 20 neurons",
        "layer 2: 30 neurons",
        "layer 1: 1,200 neurons",
        "data: 64 pixels",
    ]
    tips = [one.text for one in drawing.iter(f"{SVG}title")]
    assert "3 predicts 0: dense(feedback=random)" in tips
    arrows = len(list(drawing.iter(f"{SVG}polygon")))
    assert arrows == 2 * len(network.circuit.connections) + 1  # one layer competes
    texts = {one.text for one in drawing.iter(f"{SVG}text")}
    assert {"W", "E", "Wᵀ", "predictions", "errors", "competition"} <= texts
    assert "competition" not in gncn.chain((6, 4)).svg()


def test_everything_drawn_lies_within_the_picture():
    drawing = ElementTree.fromstring(circuit().svg())
    width, height = (float(drawing.attrib[name]) for name in ("width", "height"))
    for one in drawing.iter(f"{SVG}polygon"):
        numbers = [float(n) for n in one.attrib["points"].split()]
        assert min(numbers) >= 0
        assert max(numbers[::2]) <= width
        assert max(numbers[1::2]) <= height
    for one in drawing.iter(f"{SVG}rect"):
        if "x" in one.attrib:
            assert float(one.attrib["x"]) + float(one.attrib["width"]) <= width
            assert float(one.attrib["y"]) + float(one.attrib["height"]) <= height


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", 'a"b&c', "red\x1b[31m"])
def test_names_are_escaped(name):
    def own(x):
        return x

    own.__name__ = name
    drawing = circuit(own).svg()
    assert name not in drawing
    ElementTree.fromstring(drawing)
    assert "\x1b" not in str(circuit(own))
