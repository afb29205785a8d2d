"""What must hold by theory: exact gradients of ψ, and its ascent under small steps."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import gncn
from budget import examples, later
from gncn.core.learning import hebbian_updates, learned
from gncn.core.precision import Diagonal, Full, hold_eigenvalues
from gncn.core.states import initial_latents
from nets import SMOOTH, cases, perturb

EXACT = {"competition": "none", "feedback": "exact"}


def psi(network, latents):
    return jnp.mean(gncn.total_discrepancy(network, latents).total)


def with_numbers(network, **numbers):
    """The network with a number of all layers replaced, such as the leak."""
    layers = tuple(
        dataclasses.replace(layer, **{name: jnp.float32(value) for name, value in numbers.items()})
        for layer in network.layers
    )
    return dataclasses.replace(network, layers=layers)


def off_equilibrium(network, x, seed):
    """States at which every error is far from zero."""
    rng = np.random.default_rng(seed)
    latents = initial_latents(network, jnp.asarray(x))
    moved = [jnp.asarray(rng.normal(size=z.shape) + 0.2, jnp.float32) for z in latents[1:]]
    return (latents[0], *moved)


@settings(max_examples=examples(25))
@given(cases(**EXACT, group_size=None, band_width=None))
def test_changes_and_updates_are_the_gradients_of_psi(case):
    network, x = case.build()
    network = with_numbers(network, leak=0.0)
    latents = off_equilibrium(network, x, case.seed)
    responses = network.respond(latents)
    by_states = jax.grad(psi, argnums=1)(network, latents)
    changes = network.velocity(latents, responses)
    for change, gradient in zip(changes, by_states[1:], strict=True):
        np.testing.assert_allclose(change, len(x) * gradient, rtol=1e-3, atol=1e-4)
    by_synapses = eqx.filter_grad(psi)(network, latents)
    updates = hebbian_updates(network, latents, responses)
    for found, synapses in zip(updates.connections, by_synapses.connections, strict=True):
        np.testing.assert_allclose(found, synapses.forward, rtol=1e-3, atol=1e-4)
    for found, layer in zip(updates.biases, by_synapses.layers, strict=True):
        np.testing.assert_allclose(found, layer.bias.plastic, rtol=1e-3, atol=1e-4)
    for found, layer in zip(updates.errors, by_synapses.layers, strict=True):
        gradients = jax.tree.leaves(layer.errors)
        assert len(gradients) == len(jax.tree.leaves(found))
        for gradient in gradients:  # Eq 7, with its sign and its halves
            symmetric = gradient if gradient.ndim == 1 else 0.5 * (gradient + gradient.T)
            np.testing.assert_allclose(found, symmetric, rtol=2e-3, atol=2e-4)


@settings(max_examples=examples(25))
@given(cases(**EXACT, group_size=None, band_width=None, non_negative=False))
def test_psi_never_falls_while_settling_by_exact_gradients(case):
    network, x = case.build()
    network = with_numbers(network, leak=0.0, step_size=0.005)
    _, trajectory = gncn.watch(network, jnp.asarray(x), n_settle_steps=40)
    total = np.asarray(trajectory.discrepancy.total)
    rounding = 1e-5 * (1 + np.abs(total[1:]))
    kinked = case.chain["activation"] == "relu" or case.chain["prediction_activation"] == "relu"
    allowed = rounding + (0.02 if kinked else 0.0)
    assert (np.diff(total, axis=0) >= -allowed).all()
    assert (total[-1] >= total[0] - rounding[-1]).all()


@settings(max_examples=examples(15))
@given(
    cases(
        feedback="tied",
        compared="state",
        competition="none",
        group_size=None,
        band_width=None,
        activation="identity",
        winners=None,
        prediction_activation="identity",
    )
)
def test_tied_and_exact_feedback_agree_where_all_derivatives_are_one(case):
    if case.chain["output_activation"] == "sigmoid":  # squared error through a sigmoid
        return
    tied, x = case.build()
    exact, _ = dataclasses.replace(case, chain={**case.chain, "feedback": "exact"}).build()
    latents = off_equilibrium(tied, x, case.seed)
    responses = tied.respond(latents)
    pairs = (network.velocity(latents, responses) for network in (tied, exact))
    for a, b in zip(*pairs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_precision_learning_finds_the_covariance_of_the_deviations():
    """The fixed point of Eq 7 is Σ = E[d dᵀ]."""
    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    d = jnp.asarray(rng.normal(size=(500, 4)) @ (0.5 * root + np.eye(4)), jnp.float32)
    share = jnp.full(500, 1 / 500)
    second_moment = np.asarray(d.T @ d) / 500

    def step(_, precisions):
        return tuple(
            p.learned(p.update(d, share), jnp.float32(0.1), (1e-3, 1e3)) for p in precisions
        )

    start = (Full(jnp.eye(4)), Diagonal(jnp.ones(4)))
    full, diagonal = jax.lax.fori_loop(0, 3000, step, start)
    np.testing.assert_allclose(np.linalg.inv(full.matrix), second_moment, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(1 / diagonal.values, np.diag(second_moment), rtol=0.01)


def test_eigenvalues_are_held_and_the_matrix_is_exactly_symmetric():
    rng = np.random.default_rng(1)
    for scale in (0.01, 1.0, 100.0):
        wild = jnp.asarray(scale * rng.normal(size=(7, 7)), jnp.float32)
        held = np.asarray(hold_eigenvalues(wild, 0.2, 5.0))
        assert (held == held.T).all()
        values = np.linalg.eigvalsh(held.astype(float))
        assert values.min() > 0.2 * (1 - 1e-4)
        assert values.max() < 5.0 * (1 + 1e-4)
    clipped = Diagonal(jnp.asarray([1.0, 1.0, 1.0])).learned(
        jnp.asarray([-9.0, 0.5, 9.0]), jnp.float32(1.0), (0.2, 5.0)
    )
    np.testing.assert_allclose(clipped.values, [0.2, 1.5, 5.0])
    inside = jnp.asarray([[1.0, 0.3], [0.3, 2.0]])
    np.testing.assert_allclose(hold_eigenvalues(inside, 0.2, 5.0), inside, rtol=1e-5)


@pytest.mark.parametrize("activation", [SMOOTH[0], *map(later, SMOOTH[1:])])
def test_learning_by_exact_gradients_raises_psi(activation):
    circuit = gncn.chain(
        (6, 5, 4),
        activation=activation,
        prediction_activation="tanh",
        precision="full",
        feedback="exact",
        initial_state=0.3,
    )
    network = perturb(gncn.build(circuit, seed=0, n_settle_steps=30, leak=0.0), 0)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (20, 6)), jnp.float32)
    settled = gncn.settle(network, x)
    updates = hebbian_updates(network, settled.latents, settled.responses)
    after = learned(
        network,
        updates.plastic,
        updates,
        rate=jnp.float32(1e-3),
        feedback_rate=jnp.float32(1.0),
        precision_rate=jnp.float32(1e-3),
        precision_bounds=(1e-6, 1e6),
    )
    assert psi(after, settled.latents) > psi(network, settled.latents)
