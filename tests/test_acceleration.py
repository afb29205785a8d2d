"""Accelerated settling: the rules step by step, and that all rest where plain settling does."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import gncn
from gncn.base.errors import ConfigError
from gncn.core.acceleration import curvature, least_squares, spectral_norm, with_steps
from gncn.core.settling import settle
from oracle import Oracle

ACCELERATIONS = [
    {"acceleration": "heavy-ball", "momentum": 0.6},
    {"acceleration": "nesterov", "momentum": 0.5},
    {"acceleration": "anderson", "memory": 3},
]


def names(options):
    return "-".join(str(value) for value in options.values())


def images(n, pixels=6):
    return jnp.asarray(np.random.default_rng(2).integers(0, 2, (n, pixels)), jnp.float32)


def converging(circuit):
    """The circuit of two latent layers with a connection from the top to the data, too."""
    skip = gncn.Connection(source=2, target=0)
    return circuit.model_copy(update={"connections": (*circuit.connections, skip)})


def linear(seed=0, skip=False, **options):
    """A network whose Δz is linear in z: settling is the solution of linear equations."""
    circuit = gncn.chain(
        (6, 5, 4),
        activation="identity",
        prediction_activation="identity",
        distribution="gaussian",
        feedback="tied",
        precision="diagonal",
    )
    circuit = converging(circuit) if skip else circuit
    numbers = {"weight_scale": 0.6, "leak": 0.1, "initial_precision": 0.7, "step_size": 0.1}
    return gncn.build(circuit, seed=seed, **{**numbers, **options})


def solution(network, x):
    """States at which Δz = 0, from Δz = A z + b with A and b taken column by column."""
    oracle = Oracle(network)
    sizes = network.circuit.sizes[1:]

    def change(image, flat):
        z = [np.asarray(image, float), *np.split(flat, np.cumsum(sizes)[:-1])]
        h, zbar = oracle.predictions(z)
        e = oracle.errors(z, zbar)
        return np.concatenate([oracle.change(layer, z, h, e) for layer in (1, 2)])

    found = []
    for image in np.asarray(x):
        b = change(image, np.zeros(sum(sizes)))
        matrix = np.stack([change(image, unit) - b for unit in np.eye(sum(sizes))], axis=1)
        found.append(np.linalg.solve(matrix, -b))
    return np.array(found)


def together(latents):
    return np.concatenate([np.asarray(z) for z in latents[1:]], axis=1)


@pytest.mark.parametrize("non_negative", [False, True])
@pytest.mark.parametrize("order", ["simultaneous", "sequential"])
@pytest.mark.parametrize("kind", ["heavy-ball", "nesterov"])
def test_momentum_equals_its_rule_in_loops(kind, order, non_negative):
    circuit = gncn.chain(
        (6, 5, 4), activation="softplus", non_negative=non_negative, precision="diagonal"
    )
    network = gncn.build(
        circuit,
        seed=3,
        n_settle_steps=6,
        step_size=(0.2, 0.3),
        weight_scale=0.8,
        order=order,
        acceleration=kind,
        momentum=0.4,
    )
    oracle, x = Oracle(network), np.asarray(images(2))
    settled = settle(network, x)
    for row, image in enumerate(x):
        plain = oracle.settle(image, 0)
        before, now = plain, plain
        for _ in range(6):
            ahead = [z + 0.4 * (z - old) for z, old in zip(now, before, strict=True)]
            if non_negative:
                ahead = [ahead[0], *(np.maximum(z, 0) for z in ahead[1:])]
            start = ahead if kind == "nesterov" else now
            target = oracle.step([np.array(z) for z in start])
            if kind == "heavy-ball":
                target = [t + 0.4 * (z - o) for t, z, o in zip(target, now, before, strict=True)]
                if non_negative:
                    target = [target[0], *(np.maximum(z, 0) for z in target[1:])]
            before, now = now, target
        for layer in (1, 2):
            np.testing.assert_allclose(
                settled.latents[layer][row], now[layer], rtol=1e-4, atol=1e-5
            )


def test_anderson_solves_linear_equations_in_as_many_steps_as_unknowns():
    x = images(3)
    network = linear(acceleration="anderson", memory=9)
    wanted = solution(network, x)
    plain = together(settle(linear(), x, n_settle_steps=11).latents)
    mixed = together(settle(network, x, n_settle_steps=11).latents)
    assert np.abs(plain - wanted).max() > 0.05
    np.testing.assert_allclose(mixed, wanted, atol=5e-3)


@pytest.mark.parametrize("order", ["simultaneous", "sequential"])
@pytest.mark.parametrize("options", [*ACCELERATIONS, {"step_rule": "curvature"}], ids=names)
def test_all_rest_at_the_solution(options, order):
    x = images(4)
    network = linear(step_size=0.2, order=order, **options)
    settled = settle(network, x, n_settle_steps=3000, tolerance=1e-5)
    assert settled.converged.all()
    np.testing.assert_allclose(together(settled.latents), solution(network, x), atol=1e-3)


@pytest.mark.parametrize("options", ACCELERATIONS, ids=names)
def test_fewer_steps_to_rest_than_plain_settling(options):
    x = images(4)
    plain = settle(linear(), x, n_settle_steps=3000, tolerance=1e-3)
    fast = settle(linear(**options), x, n_settle_steps=3000, tolerance=1e-3)
    assert fast.converged.all()
    assert np.all(np.asarray(fast.n_steps) < np.asarray(plain.n_steps))


@pytest.mark.parametrize("options", ACCELERATIONS, ids=names)
def test_nonlinear_networks_rest_where_plain_settling_does(options):
    circuit = gncn.chain(
        (6, 5, 4), competition="columns", group_size=(5, 2), feedback="tied", activation="tanh"
    )
    numbers = {"self_excitation": 0.0, "leak": 0.3, "weight_scale": 0.5}
    x = images(4)
    plain, fast = (
        settle(
            gncn.build(circuit, seed=1, **numbers, **extra), x, n_settle_steps=2000, tolerance=1e-3
        )
        for extra in ({}, options)
    )
    assert plain.converged.all()
    assert fast.converged.all()
    np.testing.assert_allclose(together(fast.latents), together(plain.latents), atol=0.03)


@pytest.mark.parametrize("options", ACCELERATIONS, ids=names)
def test_states_held_at_zero_stay_there_when_they_come_to_rest(options):
    circuit = gncn.chain((6, 5, 4), non_negative=True, activation="identity", feedback="tied")
    fast = {key: 0.8 if key == "momentum" else value for key, value in options.items()}
    network = gncn.build(circuit, seed=2, weight_scale=0.6, leak=0.05, **fast)
    settled = settle(network, images(4), n_settle_steps=500, tolerance=0.05)
    assert settled.converged.all()
    assert min(float(z.min()) for z in settled.latents[1:]) == 0.0


@pytest.mark.parametrize("options", ACCELERATIONS, ids=names)
def test_recorded_and_plain_loops_agree(options):
    network, x = linear(n_settle_steps=7, **options), images(3)
    recorded = settle(network, x, keep_latents=True)
    for plain, kept in zip(settle(network, x).latents, recorded.latents, strict=True):
        np.testing.assert_allclose(plain, kept, rtol=1e-5, atol=1e-6)
    for layer, states in enumerate(recorded.trajectory.latents):
        np.testing.assert_array_equal(states[-1], recorded.latents[layer])
    psi = gncn.total_discrepancy(network, tuple(z[4] for z in recorded.trajectory.latents))
    np.testing.assert_allclose(recorded.trajectory.discrepancy.total[4], psi.total, rtol=1e-5)


@given(st.integers(0, 10_000), st.integers(1, 4))
@settings(max_examples=20)
def test_least_squares_equal_numpys(seed, n):
    rng = np.random.default_rng(seed)
    columns, goal = rng.normal(size=(n, 3, 6)), rng.normal(size=(3, 6))
    weights = least_squares(jnp.asarray(columns), jnp.asarray(goal))
    for row in range(3):
        wanted = np.linalg.lstsq(columns[:, row].T, goal[row])[0]
        np.testing.assert_allclose(weights[:, row], wanted, rtol=1e-3, atol=1e-4)


def test_dependent_and_empty_columns_are_left_out():
    rng = np.random.default_rng(0)
    column, goal = rng.normal(size=(1, 2, 6)), rng.normal(size=(2, 6))
    columns = np.concatenate([column, 2 * column, 0 * column])
    weights = np.asarray(least_squares(jnp.asarray(columns), jnp.asarray(goal)))
    np.testing.assert_array_equal(weights[1:], 0)
    alone = np.sum(column[0] * goal, -1) / np.sum(column[0] ** 2, -1)
    np.testing.assert_allclose(weights[0], alone, rtol=1e-5)


def test_spectral_norm():
    for seed in range(5):
        matrix = np.random.default_rng(seed).normal(0.3, 1.0, size=(30, 50))
        found = float(spectral_norm(jnp.asarray(matrix, jnp.float32)))
        assert 0.97 * np.linalg.norm(matrix, 2) < found < 1.001 * np.linalg.norm(matrix, 2)


def test_curvature_adds_up_the_blocks():
    circuit = gncn.chain(
        (6, 5, 4),
        competition=("columns", "band"),
        group_size=(5, None),
        band_width=(None, 1),
        precision="diagonal",
    )
    network = gncn.build(
        circuit,
        seed=0,
        weight_scale=0.6,
        leak=0.2,
        self_excitation=0.1,
        lateral_inhibition=0.3,
        initial_precision=0.7,
    )
    w, e = network.forward_weights, network.feedback_weights
    w0, w1, e0, e1 = (float(spectral_norm(matrix)) for matrix in (*w, *e))
    bottom = 0.25 * w0 * e0 + 0.7 * w1 + 0.7 + 0.2 + 0.3 * 4
    top = 0.7 * w1 * e1 + 0.7 * e1 + 0.2 + 0.3 * 2
    np.testing.assert_allclose(curvature(network), [bottom, top], rtol=1e-5)


def test_curvature_couples_layers_that_predict_the_same():
    circuit = converging(gncn.chain((6, 5, 4), precision="diagonal"))
    network = gncn.build(circuit, seed=0, weight_scale=0.6, leak=0.2, initial_precision=0.7)
    w, e = network.forward_weights, network.feedback_weights
    w0, w1, w2, e0, e1, e2 = (float(spectral_norm(matrix)) for matrix in (*w, *e))
    bottom = 0.25 * e0 * (w0 + w2) + 0.7 * w1 + 0.7 + 0.2
    top = 0.7 * w1 * e1 + 0.7 * e1 + 0.25 * e2 * (w0 + w2) + 0.2
    np.testing.assert_allclose(curvature(network), [bottom, top], rtol=1e-5)


def test_curvature_knows_no_rivalry_of_a_neuron_with_itself():
    columns = gncn.chain((6, 6), competition="columns", group_size=3)
    matrix = gncn.chain((6, 6), competition="matrix")
    mask = np.kron(np.eye(2), np.ones((3, 3)))
    numbers = {"seed": 0, "lateral_inhibition": 0.4, "self_excitation": 0.0}
    same = gncn.build(matrix, lateral_masks={1: mask}, **numbers)
    np.testing.assert_allclose(curvature(same), curvature(gncn.build(columns, **numbers)))


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("order", ["simultaneous", "sequential"])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=10)
def test_a_step_from_the_bound_is_stable_and_much_longer_ones_are_not(skip, order, seed):
    def radius(step_size):
        network = linear(seed, skip, step_size=step_size, step_rule="curvature", order=order)
        network = with_steps(network)

        def step(flat):
            latents = (jnp.zeros((1, 6)), flat[None, :5], flat[None, 5:])
            return together_jax(settle(network, jnp.zeros((1, 6)), n_settle_steps=1, start=latents))

        # The network's steps are those of the bound already: settle must not bound them again.
        plain = gncn.Settling(order=order)
        network = type(network)(**{**vars(network), "settling": plain})
        return np.abs(np.linalg.eigvals(np.asarray(jax.jacfwd(step)(jnp.zeros(9))))).max()

    assert radius(1.0) < 1
    assert radius(12.0) > 1


def together_jax(settled):
    return jnp.concatenate(settled.latents[1:], axis=-1)[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"acceleration": "anderson"}, r"needs `memory`.*received acceleration='anderson', memory"),
        ({"acceleration": "nesterov"}, "needs `momentum`"),
        ({"momentum": 0.5}, "no other takes it; received acceleration='none', momentum=0.5"),
        ({"acceleration": "heavy-ball", "momentum": 1.0}, "less than 1; received 1.0"),
        ({"acceleration": "newton"}, "'none', 'heavy-ball', 'nesterov' or 'anderson'"),
        ({"order": "random"}, "'simultaneous' or 'sequential'; received 'random'"),
        ({"step_rule": "armijo"}, "'fixed', 'curvature' or 'newton'; received 'armijo'"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        linear(**options)
