"""Settling as a computation: batches, compilation, tolerances, trajectories, bad input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

try:
    from jax.extend.core import jaxprs_in_params
except ImportError:  # before JAX 0.8
    from jax.core import jaxprs_in_params

import gncn
from budget import examples, later
from gncn import Circuit, Dense, Layer
from gncn.base.errors import ConfigError, DataError
from gncn.core import fast
from gncn.core.likelihood import binary_cross_entropy
from gncn.core.states import initial_latents
from nets import cases, perturb

PULLED = {"self_excitation": 0.0, "leak": 0.3}


def small(**options):
    circuit = gncn.chain((6, 5, 4), competition="columns", group_size=(5, 2), **options)
    return gncn.build(circuit, seed=1, n_settle_steps=12, **PULLED)


def images(n, pixels=6):
    return jnp.asarray(np.random.default_rng(2).integers(0, 2, (n, pixels)), jnp.float32)


@settings(max_examples=examples(15))
@given(cases(batch=4))
def test_a_batch_equals_its_stacked_singles(case):
    network, x = case.build()
    if case.chain["activation"] in ("sign", "heaviside", "k_winners"):
        return  # rounding, which depends on the batch, may cross a jump
    x = jnp.asarray(x)
    together = gncn.settle(network, x)
    for row in range(4):
        alone = gncn.settle(network, x[row : row + 1])
        for a, b in zip(together.latents, alone.latents, strict=True):
            np.testing.assert_allclose(a[row], b[0], rtol=1e-4, atol=1e-5)


@settings(max_examples=examples(10))
@given(cases())
def test_compiled_equals_eager(case):
    network, x = case.build()
    if case.chain["activation"] in ("sign", "heaviside", "k_winners"):
        return
    eager = gncn.settle(network, jnp.asarray(x))
    compiled = eqx.filter_jit(gncn.settle)(network, jnp.asarray(x))
    for a, b in zip(eager.latents, compiled.latents, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("feedback", ["learned", "tied"])
@pytest.mark.parametrize("tolerance", [None, 1e-9])
def test_bfloat16_rounds_the_factors_of_every_step_and_nothing_else(feedback, tolerance):
    """One step from states that have moved equals a NumPy step with rounded factors."""

    def rounded(values):
        return np.asarray(jnp.asarray(values).astype(jnp.bfloat16).astype(jnp.float32), np.float64)

    options = {"feedback": feedback, "prediction_activation": "tanh"}
    circuit = gncn.chain((6, 5, 4), activation="relu", **options)
    numbers = {"n_settle_steps": 1, "weight_scale": 0.7, "leak": PULLED["leak"]}
    exact = gncn.build(circuit, seed=1, **numbers)
    low = gncn.build(circuit, seed=1, products="bfloat16", **numbers)
    rng = np.random.default_rng(0)
    x, z1, z2 = images(3), rng.normal(size=(3, 5)), rng.normal(size=(3, 4))
    start = (x, jnp.asarray(z1, jnp.float32), jnp.asarray(z2, jnp.float32))
    settled = gncn.settle(low, x, start=start, tolerance=tolerance)
    w0, w1 = (rounded(c.forward) for c in low.connections)
    e0, e1 = w0.T, w1.T
    if feedback == "learned":
        e0, e1 = (rounded(c.feedback.weights) for c in low.connections)
    phi1, phi2 = np.maximum(np.asarray(start[1]), 0), np.maximum(np.asarray(start[2]), 0)
    error0 = np.asarray(x) - 1 / (1 + np.exp(-rounded(phi1) @ w0.T))
    error1 = np.asarray(start[1]) - np.tanh(rounded(phi2) @ w1.T)
    change1 = rounded(error0.astype(np.float32)) @ e0.T - error1 - 0.3 * z1
    change2 = rounded(error1.astype(np.float32)) @ e1.T - 0.3 * z2
    np.testing.assert_allclose(settled.latents[1], z1 + 0.1 * change1, rtol=1e-4, atol=2e-4)
    np.testing.assert_allclose(settled.latents[2], z2 + 0.1 * change2, rtol=1e-4, atol=2e-4)
    plain = gncn.settle(exact, x, start=start)
    assert np.abs(plain.latents[1] - settled.latents[1]).max() > 1e-5
    # What is learned from is in single precision.
    w0 = np.asarray(low.connections[0].forward)
    drive = np.maximum(np.asarray(settled.latents[1]), 0) @ w0.T
    np.testing.assert_allclose(settled.responses.drives[0], drive, rtol=1e-5, atol=1e-6)


def test_products_of_an_unknown_type_are_refused():
    with pytest.raises(ConfigError, match="products: .*'float32' or 'bfloat16'; received 'int8'"):
        gncn.build(gncn.chain((6, 4)), seed=0, products="int8")


@pytest.mark.parametrize("precision", [later("off"), later("diagonal"), "full"])
def test_recording_changes_nothing_and_records_every_step(precision):
    network, x = perturb(small(precision=precision), seed=0), images(3)
    plain = gncn.settle(network, x)
    recorded, trajectory = gncn.watch(network, x, keep_latents=True)
    for layer, states in enumerate(trajectory.latents):
        assert states.shape == (13, 3, network.circuit.sizes[layer])
        np.testing.assert_array_equal(states[-1], recorded.latents[layer])
        np.testing.assert_allclose(states[-1], plain.latents[layer], rtol=1e-5, atol=1e-6)
    for t in (0, 1, 7):
        shorter = gncn.settle(network, x, n_settle_steps=t) if t else None
        expected = [z[t] for z in trajectory.latents]
        if shorter is not None:
            np.testing.assert_allclose(shorter.latents[1], expected[1], rtol=1e-5, atol=1e-6)
        psi = gncn.total_discrepancy(network, tuple(expected))
        np.testing.assert_allclose(trajectory.discrepancy.total[t], psi.total, rtol=1e-5)
    for layer in (1, 2):
        beta = np.asarray(network.layers[layer].step_size)
        moved = np.diff(np.asarray(trajectory.latents[layer]), axis=0) / beta
        np.testing.assert_allclose(
            trajectory.change[:-1, :, layer - 1],
            np.sqrt((moved**2).mean(-1)),
            rtol=1e-3,
            atol=1e-5,
        )
    without, brief = gncn.watch(network, x)
    assert brief.latents == ()
    np.testing.assert_array_equal(brief.discrepancy.total, trajectory.discrepancy.total)
    np.testing.assert_array_equal(without.latents[2], recorded.latents[2])


def test_each_image_stops_when_its_own_states_rest():
    network, x = small(), images(5)
    settled = gncn.settle(network, x, n_settle_steps=2000, tolerance=1e-3)
    assert settled.converged.all()
    steps = np.asarray(settled.n_steps)
    assert (steps > 0).all()
    assert (steps < 2000).all()
    assert len(set(steps)) > 1
    recorded, trajectory = gncn.watch(network, x, n_settle_steps=2000, tolerance=1e-3)
    np.testing.assert_array_equal(recorded.n_steps, steps)
    change = np.asarray(trajectory.change).max(-1)
    for image, taken in enumerate(steps):
        assert (change[:taken, image] >= 1e-3).all()
        assert change[taken, image] < 1e-3
        alone = gncn.settle(network, x[image : image + 1], n_settle_steps=int(taken))
        np.testing.assert_allclose(
            alone.latents[1][0], settled.latents[1][image], rtol=1e-4, atol=1e-5
        )


def test_too_few_steps_are_reported_as_not_converged():
    settled = gncn.settle(small(), images(2), n_settle_steps=3, tolerance=1e-6)
    assert not settled.converged.any()
    assert (np.asarray(settled.n_steps) == 3).all()
    assert gncn.settle(small(), images(2)).converged is None


def test_a_smaller_step_does_not_pass_for_rest():
    """The change is measured per unit of settling time, not per step."""
    circuit = small().circuit
    slow = gncn.build(circuit, seed=1, step_size=1e-5, **PULLED)
    settled = gncn.settle(slow, images(2), n_settle_steps=5, tolerance=1e-3)
    assert (np.asarray(settled.n_steps) == 5).all()
    assert not settled.converged.any()


def test_states_held_at_zero_are_at_rest():
    network = small(non_negative=True, activation="identity")
    settled = gncn.settle(network, images(4), n_settle_steps=3000, tolerance=1e-4)
    assert settled.converged.all()
    assert all((np.asarray(z) >= 0).all() for z in settled.latents[1:])


def test_settling_can_go_on_from_earlier_states():
    network, x = small(), images(3)
    half = gncn.settle(network, x, n_settle_steps=5)
    whole = gncn.settle(network, x, n_settle_steps=12)
    rest = gncn.settle(network, x, n_settle_steps=7, start=half.latents)
    for a, b in zip(rest.latents, whole.latents, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_one_row_of_states_to_start_from_stands_for_all_images():
    network, x = small(), images(3)
    row = tuple(jnp.full((1, size), 0.3) for size in network.circuit.sizes)
    found = gncn.settle(network, x, start=row)
    rows = gncn.settle(network, x, start=tuple(jnp.repeat(z, 3, axis=0) for z in row))
    for a, b in zip(found.latents, rows.latents, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    "change", [lambda z: z[:-1], lambda z: z[2:], lambda z: (z[0], z[2], z[1])]
)
def test_states_to_start_from_have_the_shapes_of_layers(change):
    network, x = small(), images(3)
    start = change(gncn.settle(network, x).latents)
    with pytest.raises(DataError, match=r"start must hold the states of layers 0.*received \[\("):
        gncn.settle(network, x, start=start)


def products(jaxpr, rows):
    """How many matrix products with that many rows a program computes, loops counted out."""
    found = 0
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            found += equation.invars[0].aval.shape[0] == rows
        times = equation.params.get("length", 1)
        for inner in jaxprs_in_params(equation.params):
            found += times * products(inner, rows)
    return found


@pytest.mark.parametrize(
    ("options", "saved"),
    [
        ({}, (5, 8, 9, 9)),
        ({"precision": "diagonal"}, (5, 8, 9, 9)),
        ({"settler": "sequential"}, (3, 3, 3, 3)),
        ({"settler": "momentum", "momentum": 0.5}, (0, 0, 0, 0)),
        ({"products": "bfloat16"}, (0, 0, 0, 0)),
        ({"feedback": "exact"}, (0, 0, 0, 0)),
    ],
)
@pytest.mark.parametrize(("number", "n_steps"), [later(0, 1), (1, 2), later(2, 3), later(3, 20)])
def test_no_product_is_computed_that_is_the_same_for_every_image(options, saved, number, n_steps):
    """With three latent layers the first steps need 1, 3 and 5 products in place of 6."""
    wiring = {name: options[name] for name in ("feedback", "precision") if name in options}
    manner = {name: value for name, value in options.items() if name not in wiring}
    circuit = gncn.chain((6, 5, 4, 3), activation="tanh", **wiring)
    network, x = gncn.build(circuit, seed=0, **manner), images(7)

    def count(**given):
        run = jax.make_jaxpr(lambda x: gncn.settle(network, x, n_settle_steps=n_steps, **given))
        return products(run(x).jaxpr, rows=7)

    start = initial_latents(network, x)
    assert count(start=start) == 6 * n_steps + 3  # at the end, predictions
    assert count(start=start) - count() == saved[number]

    whole = gncn.settle(network, x, n_settle_steps=n_steps)
    one_by_one = gncn.settle(network, x, n_settle_steps=n_steps, start=start)
    for a, b in zip(whole.latents, one_by_one.latents, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-7)
        assert a.shape == b.shape


@pytest.mark.slow
@pytest.mark.parametrize(("n_images", "size"), [later(4, 4), (5, 3), later(8, 4), later(9, 3)])
@pytest.mark.parametrize("tolerance", [later(None), 1e-3])
def test_a_cpu_settles_many_images_in_equal_blocks(n_images, size, tolerance, patched):
    network, x = small(precision="diagonal"), images(n_images)
    rest = {"tolerance": tolerance}

    def rows():
        run = jax.make_jaxpr(lambda x: gncn.settle(network, x, n_settle_steps=9, **rest))
        found = run(x).jaxpr
        return {of for of in range(2, 10) if products(found, rows=of)}

    whole = gncn.settle(network, x, n_settle_steps=900, **rest)
    assert rows() == {n_images}
    patched(fast, "_BLOCK", 4)
    assert rows() == {size}
    in_blocks = gncn.settle(network, x, n_settle_steps=900, **rest)
    for a, b in zip(jax.tree.leaves(in_blocks), jax.tree.leaves(whole), strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    patched(jax, "default_backend", lambda: "gpu")
    assert rows() == {n_images}


def test_more_images_than_a_block_settle_as_each_block_alone():
    network, x = small(), images(1030)
    whole = gncn.settle(network, x)
    parts = [gncn.settle(network, part) for part in (x[:344], x[344:688], x[688:])]
    for layer, states in enumerate(whole.latents):
        alone = np.concatenate([part.latents[layer] for part in parts])
        np.testing.assert_allclose(states, alone, rtol=1e-5, atol=1e-6)
    alone = np.concatenate([part.reconstruction for part in parts])
    np.testing.assert_allclose(whole.reconstruction, alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("n_steps", [0, 1, 2, 3, 7, 11, 13, 20, 23])
def test_the_loop_takes_as_many_steps_as_it_is_told(n_steps):
    def step(carry):
        latents, count = carry
        return tuple(z + 1 for z in latents), count + 1

    latents, count = fast.repeat(step, ((jnp.zeros((2, 3)),), jnp.zeros((), int)), n_steps)
    assert int(count) == n_steps
    np.testing.assert_array_equal(latents[0], n_steps)


@pytest.mark.parametrize(
    ("options", "manner"),
    [
        ({"activation": "relu", "precision": "full", "competing": "activity"}, {}),
        later({"activation": "tanh", "precision": "diagonal"}, {"settler": "sequential"}),
        later(
            {"activation": "tanh"}, {"settler": "newton", "damping": 1.0, "pixel_variance": 0.25}
        ),
        later({"activation": "tanh"}, {"settler": "momentum", "momentum": 0.5}),
        ({"activation": "tanh", "feedback": "exact"}, {}),
        later({"activation": "k_winners", "winners": 3, "competing": "activity"}, {}),
    ],
)
@pytest.mark.parametrize("block", [later(1000), 2])
def test_what_settling_leaves_out_changes_nothing(options, manner, block, patched):
    """As recorded, where nothing is left out; columns, a band, connections past a layer.

    Blocks change nothing either: five images in three blocks of two, the last filled up.
    """
    patched(fast, "_BLOCK", block)
    hidden = {"prediction_activation": "tanh"} | options
    whole = {name: hidden.pop(name) for name in ("competing",) if name in hidden}
    feedback = hidden.pop("feedback", "learned")
    rivals = (
        {"size": 6, "competition": "columns", "group_size": 3},
        {"size": 6, "competition": "band", "band_width": 1},
        {"size": 6, "competition": "columns", "group_size": 2},
    )
    top = {name: hidden[name] for name in ("activation", "winners") if name in hidden}
    circuit = Circuit(
        layers=(
            Layer(size=6, likelihood="gaussian", prediction_activation="identity"),
            Layer(**rivals[0], **hidden),
            Layer(**rivals[1], **hidden),
            Layer(**rivals[2], **top),
        ),
        connections=tuple(
            Dense(source=source, target=target, feedback=feedback)
            for source, target in ((1, 0), (2, 1), (3, 2), (3, 0), (3, 1))
        ),
        **whole,
    )
    strong = {"self_excitation": 0.2, "lateral_inhibition": 0.5, "weight_scale": 0.5}
    network = perturb(gncn.build(circuit, seed=1, n_settle_steps=9, **strong, **manner), seed=1)
    for start in (None, tuple(images(5, 6) for _ in range(4))):
        recorded, _ = gncn.watch(network, images(5), start=start)
        plain = gncn.settle(network, images(5), start=start)
        for a, b in zip(plain.latents, recorded.latents, strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
        for a, b in zip(plain.responses.drives[:3], recorded.responses.drives[:3], strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-4)


def test_bce_is_finite_and_exact_for_extreme_logits():
    x = jnp.asarray([[1.0, 0.0, 1.0, 0.0]])
    found = binary_cross_entropy(x, jnp.asarray([[200.0, 200.0, -3.0, -3.0]]))
    p = 1 / (1 + np.exp(3.0))
    assert float(found[0]) == pytest.approx(200 - np.log(p) - np.log(1 - p), rel=1e-6)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"n_settle_steps": 0}, ConfigError, "n_settle_steps must be at least 1; received 0"),
        ({"tolerance": 0.0}, ConfigError, "tolerance must be above 0; received 0.0"),
        ({"x": jnp.zeros((2, 7))}, DataError, r"\(n, 6\).*received \(2, 7\)"),
        ({"x": np.full((2, 6), np.nan)}, DataError, "finite.*12 of 12 values are missing"),
        ({"x": np.full((2, 6), 1.5)}, DataError, "from 1.5 to 1.5"),
    ],
)
def test_bad_input_is_named(options, error, message):
    options = {"x": images(2), **options}
    with pytest.raises(error, match=message):
        gncn.settle(small(), options.pop("x"), **options)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_states_to_start_from_are_finite(value):
    network = gncn.build(gncn.chain((6, 5, 4)), seed=0)
    start = (np.zeros((1, 6)), np.zeros((1, 5)), np.full((1, 4), value))
    with pytest.raises(DataError, match="start holds values in layer 2 that are not finite"):
        gncn.settle(network, np.zeros((2, 6)), start=tuple(map(jnp.asarray, start)))


@pytest.mark.usefixtures("unchecked")
def test_numpy_integers_count_steps():
    network, x = gncn.build(gncn.chain((6, 4)), seed=0), np.ones((2, 6))
    seven = gncn.settle(network, x, n_settle_steps=7)
    again = gncn.settle(network, x, n_settle_steps=np.int64(7))
    np.testing.assert_array_equal(again.latents[1], seven.latents[1])
    settled, trajectory = gncn.watch(network, x, n_settle_steps=np.int64(7))
    np.testing.assert_allclose(settled.latents[1], seven.latents[1], rtol=1e-5)
    assert len(trajectory.change) == 8
    complete = gncn.Completer(network, "silent", n_settle_steps=np.int64(7))
    assert complete(jnp.ones((2, 6)), jnp.arange(6) < 3).shape == (2, 6)


def test_the_last_of_a_record_is_of_the_states_returned():
    """In bfloat16 the steps are rounded, and what is returned isn't."""
    network = gncn.build(gncn.chain((6, 4, 3)), seed=0, products="bfloat16", n_settle_steps=5)
    settled, trajectory = gncn.watch(network, np.eye(6))
    last = jax.tree.map(lambda steps: steps[-1], trajectory.discrepancy)
    found = gncn.total_discrepancy(network, settled.latents)
    for one, other in zip(jax.tree.leaves(last), jax.tree.leaves(found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_a_part_that_is_registered_again_is_the_one_that_settles():
    def register(activation):
        activation.__qualname__ = "mine"  # defined again, as in a notebook
        gncn.register("activation", "mine", activation)

    register(lambda z: jnp.tanh(z))
    network = gncn.build(gncn.chain((6, 4), activation="mine"), seed=0, n_settle_steps=5)
    before = gncn.settle(network, np.ones((2, 6))).latents[1]
    register(lambda z: 3 * jax.nn.relu(z))
    network = gncn.build(gncn.chain((6, 4), activation="mine"), seed=0, n_settle_steps=5)
    assert not np.allclose(gncn.settle(network, np.ones((2, 6))).latents[1], before)


class Doubled(gncn.Network):
    """A network whose errors count twice."""

    def error(self, *arguments):
        return 2 * super().error(*arguments)


def test_a_subclass_settles_by_its_own_equations():
    plain = gncn.build(gncn.chain((6, 4)), seed=0, n_settle_steps=3)
    own = Doubled(plain.circuit, plain.settler, plain.layers, plain.connections)
    x = np.ones((2, 6))
    assert not np.allclose(gncn.settle(own, x).latents[1], gncn.settle(plain, x).latents[1])
