"""Newton's steps: curvatures in plain loops, inverses, where they lead, and that ψ never falls."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from solvable import converging, images, linear, solution, together

import gncn
from budget import examples, later
from gncn.core.fast import prepare
from gncn.core.likelihood import GaussianErrors
from gncn.core.precision import Full
from gncn.core.products import product
from gncn.settlers import newton
from gncn.training.epochs import Batch
from gncn.training.hebbian import Hebbian
from oracle import Oracle, precision_of

STEPS = {"settler": "newton", "damping": 0.2, "pixel_variance": 0.25}


def network_of(seed=0, *, circuit=None, **numbers):
    options = {"competition": ("columns", "band"), "group_size": (3, None), "band_width": (None, 1)}
    circuit = gncn.chain((7, 6, 5), **{**options, "precision": "diagonal", **(circuit or {})})
    defaults = {"weight_scale": 0.6, "leak": 0.1, "lateral_inhibition": (0.3, 0.2), **STEPS}
    return gncn.build(circuit, seed=seed, **{**defaults, **numbers})


def curvatures(network, pixel_variance=0.25, damping=0.2):
    """H by loops over neurons."""
    found = []
    circuit = network.circuit

    def sharpness(of, size):
        if circuit.layers[of].likelihood.binary:
            return pixel_variance * np.eye(size)
        p = precision_of(network.layers[of])
        p = np.ones(size) if p is None else p
        return np.diag(p) if p.ndim == 1 else p

    for index, layer in enumerate(circuit.layers[1:], start=1):
        n, numbers = layer.size, network.layers[index]
        h = np.zeros((n, n))
        for c in network.connections:
            if c.source != index:
                continue
            w = np.asarray(c.forward, float)
            e = np.asarray(getattr(c.feedback, "weights", w.T), float)
            s = sharpness(c.target, len(w))
            for i in range(n):
                for j in range(n):
                    h[i, j] += 0.5 * (e[i] @ s @ e[j] + w[:, i] @ s @ w[:, j])
        if index in circuit.predicted:
            h += sharpness(index, n)
        strength, rivalry = float(numbers.lateral_inhibition), layer.competition
        if isinstance(rivalry, gncn.Columns):
            for i in range(n):
                for j in range(n):
                    h[i, j] += strength * (i // rivalry.group_size == j // rivalry.group_size)
        elif isinstance(rivalry, gncn.Band):
            h += strength * 2 * rivalry.band_width * np.eye(n)
        elif isinstance(rivalry, gncn.Matrix):
            h += strength * rivalry.mask.values.sum(1).max() * np.eye(n)
        h += (damping + float(numbers.leak)) * np.eye(n)
        found.append(h)
    return found


def found_curvatures(network):
    """H as the settler computes it."""
    return newton.own_curvatures(prepare(network).network, network.settler)


@pytest.mark.parametrize("feedback", ["learned", "tied", "random"])
@pytest.mark.parametrize("precision", ["diagonal", "full", "off"])
def test_curvatures_equal_loops_over_neurons(feedback, precision):
    given = {"initial_precision": 0.6} if precision != "off" else {}
    network = network_of(circuit={"feedback": feedback, "precision": precision}, **given)
    if precision == "full":
        matrix = np.eye(6) + 0.2 * np.random.default_rng(0).normal(size=(6, 6))
        full = jnp.asarray(matrix @ matrix.T, jnp.float32)
        errors = [layer.errors for layer in network.layers]
        assert isinstance(errors[1], GaussianErrors)
        errors[1] = dataclasses.replace(errors[1], precision=Full(full))
        network = network.replaced(errors=tuple(errors))
    for h, wanted in zip(found_curvatures(network), curvatures(network), strict=True):
        np.testing.assert_allclose(h, wanted, rtol=1e-4, atol=1e-5)


def test_a_mask_of_ones_own_and_gaussian_data():
    mask = np.triu(np.ones((5, 5)), 1)
    circuit = gncn.chain(
        (7, 5),
        competition="matrix",
        mask=mask,
        likelihood="gaussian",
        prediction_activation="identity",
    )
    numbers = {"weight_scale": 0.6, "leak": 0.1, "lateral_inhibition": 0.3, **STEPS}
    network = gncn.build(circuit, seed=0, **numbers)
    np.testing.assert_allclose(
        found_curvatures(network)[0], curvatures(network)[0], rtol=1e-4, atol=1e-5
    )


def test_no_neuron_is_its_own_rival():
    columns = gncn.chain((6, 6), competition="columns", group_size=3)
    mask = np.kron(np.eye(2), np.ones((3, 3)))
    matrix = gncn.chain((6, 6), competition=gncn.Matrix(mask=mask))
    numbers = {"seed": 0, "lateral_inhibition": 0.4, "self_excitation": 0.0, **STEPS}
    same, other = (found_curvatures(gncn.build(c, **numbers))[0] for c in (matrix, columns))
    without = found_curvatures(gncn.build(gncn.chain((6, 6)), seed=0, **STEPS))[0]
    np.testing.assert_allclose(same - without, 0.4 * 2 * np.eye(6), atol=1e-6)
    np.testing.assert_allclose(other - without, 0.4 * mask, atol=1e-6)


def positive(seed, n=30, spread=2.0):
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(n, n)))
    return (basis * 10 ** rng.uniform(-spread / 2, spread / 2, n)) @ basis.T


@given(seed=st.integers(0, 1000), off=st.sampled_from([None, 0.0, 0.05, 3.0]))
@settings(max_examples=examples(20), deadline=None)
def test_an_inverse_is_good_enough_to_steer_by_whatever_the_guess(seed, off):
    matrix = positive(seed)
    guess = None
    if off is not None:
        noise = np.random.default_rng(seed + 1).normal(size=matrix.shape)
        guess = jnp.asarray(np.linalg.inv(matrix) + off * noise, jnp.float32)
    inverse = newton.invert(jnp.asarray(matrix, jnp.float32), guess).best
    assert np.linalg.norm(np.eye(30) - matrix @ np.asarray(inverse, float)) < newton.TOLERANCE


@pytest.mark.parametrize("guess", [None, "near", "far"])
def test_the_search_goes_to_the_inverse(monkeypatch, guess):
    monkeypatch.setattr(newton, "TOLERANCE", 1e-3)
    matrix = positive(0, spread=1.0)
    wanted = np.linalg.inv(matrix)
    start = {"near": jnp.asarray(0.9 * wanted), "far": jnp.full((30, 30), 5.0), None: None}[guess]
    found = newton.invert(jnp.asarray(matrix, jnp.float32), start).best
    np.testing.assert_allclose(found, wanted, atol=2e-3)


@pytest.mark.parametrize("start", ["afresh", "near", "nan"])
@pytest.mark.parametrize("seed", range(5))
def test_rounded_products_end_the_search_at_the_best_inverse_it_saw(seed, start):
    matrix = jnp.asarray(positive(seed, spread=4.0), jnp.float32)  # too hard for 8 bits
    bfloat16, identity = jnp.dtype("bfloat16"), jnp.eye(30)
    exact = jnp.linalg.inv(matrix)
    guess = {"afresh": None, "near": exact, "nan": jnp.full((30, 30), jnp.nan)}[start]
    found = newton.invert(matrix, guess, bfloat16)
    assert found.n < newton.MOST_ITERATIONS
    residual = identity - product(matrix, found.best.astype(bfloat16))
    np.testing.assert_allclose(jnp.linalg.norm(residual), found.size, rtol=1e-5)
    if start == "near":
        return
    inverse = identity / jnp.max(jnp.sum(jnp.abs(matrix), axis=1))
    sizes = []
    for _ in range(newton.MOST_ITERATIONS):  # on and on, in plain steps
        residual = identity - product(matrix, inverse.astype(bfloat16))
        sizes.append(float(jnp.linalg.norm(residual)))
        inverse = inverse + product(inverse, residual.astype(bfloat16))
    assert found.size <= 1.001 * min(s for s in sizes if s == s)


@pytest.mark.parametrize("sequential", [later(False), True])
def test_a_step_is_the_plain_one_times_the_inverse(patched, sequential):
    patched(newton, "TOLERANCE", 1e-4)
    network = network_of(sequential=sequential, step_size=(0.4, 0.7))
    oracle, x = Oracle(network), np.asarray(images(3, 7))
    steer = [np.linalg.inv(h) for h in curvatures(network)]
    settled = gncn.settle(network, x, n_settle_steps=4)
    for row, image in enumerate(x):
        z = oracle.settle(image, 0)
        for _ in range(4):
            frozen = [np.array(a) for a in z]
            for layer in (1, 2):
                seen = z if sequential else frozen
                h, zbar = oracle.predictions(seen)
                change = oracle.change(layer, seen, h, oracle.errors(seen, zbar))
                beta = (0.4, 0.7)[layer - 1]
                z[layer] = seen[layer] + beta * change @ steer[layer - 1]
        for layer in (1, 2):
            np.testing.assert_allclose(settled.latents[layer][row], z[layer], rtol=1e-3, atol=1e-4)


def test_one_step_solves_a_layer_of_linear_neurons(patched):
    patched(newton, "TOLERANCE", 1e-4)
    circuit = gncn.chain(
        (6, 4),
        activation="identity",
        prediction_activation="identity",
        likelihood="gaussian",
        feedback="tied",
    )
    steps = {**STEPS, "damping": 1e-6, "step_size": 1.0}
    network = gncn.build(circuit, seed=0, weight_scale=0.6, leak=0.1, **steps)
    x = np.asarray(images(3))
    w = np.asarray(network.connections[0].forward, float)
    wanted = np.linalg.solve(w.T @ w + 0.1 * np.eye(4), w.T @ x.T).T
    settled = gncn.settle(network, x, n_settle_steps=1)
    np.testing.assert_allclose(settled.latents[1], wanted, atol=2e-3)


@pytest.mark.parametrize("sequential", [False, True])
def test_it_rests_at_the_solution_and_sooner(sequential):
    x = images(4)
    steered = linear(step_size=0.5, sequential=sequential, **STEPS)
    fast = gncn.settle(steered, x, n_settle_steps=500, tolerance=1e-4)
    assert fast.converged.all()
    np.testing.assert_allclose(together(fast.latents), solution(linear(), x), atol=2e-3)
    usual = linear(settler="sequential" if sequential else "euler")
    plain = gncn.settle(usual, x, n_settle_steps=500, tolerance=1e-4)
    assert np.all(np.asarray(fast.n_steps) < np.asarray(plain.n_steps))


def psi_while_settling(seed, pixel_variance, scale, skip=False):
    circuit = gncn.chain(
        (9, 6, 5),
        activation="identity",
        prediction_activation="identity",
        feedback="tied",
        precision="diagonal",
    )
    circuit = converging(circuit) if skip else circuit
    steps = {**STEPS, "pixel_variance": pixel_variance, "step_size": 1.0, "sequential": True}
    network = gncn.build(
        circuit, seed=seed, weight_scale=scale, leak=0.0, initial_precision=0.7, **steps
    )
    _, trajectory = gncn.watch(network, images(5, 9), n_settle_steps=12)
    return np.asarray(trajectory.discrepancy.total)


@pytest.mark.parametrize("skip", [False, True])
@given(seed=st.integers(0, 10_000), scale=st.floats(0.1, 5.0))
@settings(max_examples=examples(20), deadline=None)
def test_psi_never_falls_with_the_bound_on_curvature(skip, seed, scale):
    psi = psi_while_settling(seed, 0.25, scale, skip)
    assert np.all(np.diff(psi, axis=0) > -1e-4 * (1 + np.abs(psi[:-1])))


def test_psi_may_fall_without_the_bound():
    assert np.diff(psi_while_settling(0, 0.001, 5.0), axis=0).min() < -1


@pytest.mark.slow
def test_learning_begins_its_search_at_the_last_inverses(monkeypatch):
    network = network_of(n_settle_steps=3, step_size=0.5)
    config = gncn.TrainingConfig(precision_rate=0.0, learning_rate=0.01)
    method, x = Hebbian(config, 4), images(4, 7)
    learner = method.init(network)
    batch, key = Batch(x, jnp.ones(4)), jax.random.key(0)
    for _ in range(3):
        wanted = prepare(network, learner.tools).tools
        wrong = network
        network, learner, _ = method.learn(network, learner, batch, key, config.rates())
        for kept, inverse, h in zip(learner.tools, wanted, curvatures(wrong), strict=True):
            np.testing.assert_allclose(kept, inverse, rtol=1e-5, atol=1e-6)
            assert np.linalg.norm(np.eye(len(h)) - h @ np.asarray(kept, float)) < newton.TOLERANCE
    # The search is handed the inverses of before.
    near = prepare(network, learner.tools).tools
    searches = []
    whole = newton.invert
    monkeypatch.setattr(
        newton, "invert", lambda h, guess, dtype: searches.append(guess) or whole(h, guess, dtype)
    )
    prepare(network, near)
    assert len(searches) == len(near)
    for given_one, inverse in zip(searches, near, strict=True):
        np.testing.assert_array_equal(given_one, inverse)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settler": "newton", "damping": 0.1}, "needs `pixel_variance`"),
        ({"settler": "newton", "pixel_variance": 0.1}, "needs `damping`"),
        ({**STEPS, "settler": "euler"}, "no other takes it; received settler='euler', damping"),
        ({**STEPS, "pixel_variance": 0.3}, "pixel_variance.*0.25.*received 0.3"),
        ({**STEPS, "damping": 0.0}, "damping.*received 0.0"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(gncn.base.errors.ConfigError, match=message):
        linear(**options)
