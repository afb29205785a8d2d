"""Momentum: the rule step by step, and that it rests where plain settling does."""

import numpy as np
import pytest
from solvable import images, linear, solution, together

import gncn
from gncn import Euler, Momentum
from gncn.base.errors import ConfigError
from oracle import Oracle

FAST = {"settler": "momentum", "momentum": 0.6}


@pytest.mark.parametrize("non_negative", [False, True])
def test_momentum_equals_its_rule_in_loops(non_negative):
    circuit = gncn.chain(
        (6, 5, 4), activation="softplus", non_negative=non_negative, precision="diagonal"
    )
    network = gncn.build(
        circuit,
        seed=3,
        n_settle_steps=6,
        step_size=(0.2, 0.3),
        weight_scale=0.8,
        settler="momentum",
        momentum=0.4,
    )
    oracle, x = Oracle(network), np.asarray(images(2))
    settled = gncn.settle(network, x)
    for row, image in enumerate(x):
        plain = oracle.settle(image, 0)
        before, now = plain, plain
        for _ in range(6):
            target = oracle.step([np.array(z) for z in now])
            target = [t + 0.4 * (z - o) for t, z, o in zip(target, now, before, strict=True)]
            if non_negative:
                target = [target[0], *(np.maximum(z, 0) for z in target[1:])]
            before, now = now, target
        for layer in (1, 2):
            np.testing.assert_allclose(
                settled.latents[layer][row], now[layer], rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("options", [FAST, {}, {"settler": "sequential"}])
def test_all_rest_at_the_solution(options):
    x = images(4)
    network = linear(step_size=0.2, **options)
    settled = gncn.settle(network, x, n_settle_steps=3000, tolerance=1e-5)
    assert settled.converged.all()
    np.testing.assert_allclose(together(settled.latents), solution(network, x), atol=1e-3)


def test_fewer_steps_to_rest_than_plain_settling():
    x = images(4)
    plain = gncn.settle(linear(), x, n_settle_steps=3000, tolerance=1e-3)
    fast = gncn.settle(linear(**FAST), x, n_settle_steps=3000, tolerance=1e-3)
    assert fast.converged.all()
    assert np.all(np.asarray(fast.n_steps) < np.asarray(plain.n_steps))


def test_nonlinear_networks_rest_where_plain_settling_does():
    circuit = gncn.chain(
        (6, 5, 4), competition="columns", group_size=(5, 2), feedback="tied", activation="tanh"
    )
    numbers = {"self_excitation": 0.0, "leak": 0.3, "weight_scale": 0.5}
    x = images(4)
    plain, fast = (
        gncn.settle(
            gncn.build(circuit, seed=1, **numbers, **extra), x, n_settle_steps=2000, tolerance=1e-3
        )
        for extra in ({}, FAST)
    )
    assert plain.converged.all()
    assert fast.converged.all()
    np.testing.assert_allclose(together(fast.latents), together(plain.latents), atol=0.03)


def test_states_held_at_zero_stay_there_when_they_come_to_rest():
    circuit = gncn.chain((6, 5, 4), non_negative=True, activation="identity", feedback="tied")
    fast = Momentum(momentum=0.8)
    network = gncn.build(circuit, seed=2, weight_scale=0.6, leak=0.05, settler=fast)
    settled = gncn.settle(network, images(4), n_settle_steps=500, tolerance=0.05)
    assert settled.converged.all()
    assert min(float(z.min()) for z in settled.latents[1:]) == 0.0


def test_recorded_and_plain_loops_agree():
    network, x = linear(n_settle_steps=7, **FAST), images(3)
    recorded, trajectory = gncn.watch(network, x, keep_latents=True)
    for plain, kept in zip(gncn.settle(network, x).latents, recorded.latents, strict=True):
        np.testing.assert_allclose(plain, kept, rtol=1e-5, atol=1e-6)
    for layer, states in enumerate(trajectory.latents):
        np.testing.assert_array_equal(states[-1], recorded.latents[layer])
    psi = gncn.total_discrepancy(network, tuple(z[4] for z in trajectory.latents))
    np.testing.assert_allclose(trajectory.discrepancy.total[4], psi.total, rtol=1e-5)


def test_without_momentum_it_is_eulers_rule():
    x = images(3)
    plain, slow = (
        gncn.settle(linear(settler=settler), x) for settler in (Euler(), Momentum(momentum=0.0))
    )
    np.testing.assert_allclose(
        together(slow.latents), together(plain.latents), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settler": "momentum"}, "settler='momentum' needs `momentum`"),
        (
            {"momentum": 0.5},
            "momentum is an option of settler='momentum'.*settler='euler', momentum=0.5",
        ),
        ({**FAST, "momentum": 1.0}, "less than 1; received 1.0"),
        ({**FAST, "momentum": -0.1}, "greater than or equal to 0; received -0.1"),
        (
            {"settler": "nesterov"},
            "Unknown settler 'nesterov'.*'euler', 'momentum'",
        ),
        ({"settler": Euler(), "momentum": 0.5}, r"is given with its options.*momentum=0\.5"),
        ({"settler": 3}, "Give the settler by its name.*received 3"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        linear(**options)
