"""What must hold by theory: exact gradients of ψ, and its ascent under small steps."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import gncn
from gncn.core.discrepancy import respond
from gncn.core.learning import hebbian_updates
from gncn.core.settling import initial_latents, state_changes
from nets import SMOOTH, cases, perturb

EXACT = {"competition": "none", "feedback": "transposed"}


def psi(network, latents):
    return jnp.mean(gncn.total_discrepancy(network, latents).total)


def off_equilibrium(network, x, seed):
    """States at which every error is far from zero."""
    rng = np.random.default_rng(seed)
    latents = initial_latents(network, jnp.asarray(x))
    moved = [jnp.asarray(rng.normal(size=z.shape) + 0.2, jnp.float32) for z in latents[1:]]
    return (latents[0], *moved)


@settings(max_examples=40)
@given(cases(**EXACT, group_size=None, band_width=None))
def test_changes_and_updates_are_the_gradients_of_psi(case):
    network, x = case.build()
    no_leak = jnp.zeros_like(network.dynamics.leak)
    network = eqx.tree_at(lambda n: n.dynamics.leak, network, no_leak)
    latents = off_equilibrium(network, x, case.seed)
    responses = respond(network, latents)
    by_states = jax.grad(psi, argnums=1)(network, latents)
    changes = state_changes(network, latents, responses)
    for change, gradient in zip(changes, by_states[1:], strict=True):
        np.testing.assert_allclose(change, len(x) * gradient, rtol=1e-3, atol=1e-4)
    by_synapses = eqx.filter_grad(psi)(network, latents)
    updates = hebbian_updates(network, latents, responses)
    for found, gradient in zip(updates.forward, by_synapses.forward_weights, strict=True):
        np.testing.assert_allclose(found, gradient, rtol=1e-3, atol=1e-4)
    for found, gradient in zip(updates.precision, by_synapses.precision, strict=True):
        if found is not None:  # Eq 7, with its sign and its halves
            symmetric = gradient if gradient.ndim == 1 else 0.5 * (gradient + gradient.T)
            np.testing.assert_allclose(found, symmetric, rtol=2e-3, atol=2e-4)


@settings(max_examples=25)
@given(cases(**EXACT, group_size=None, band_width=None, non_negative=False))
def test_psi_never_falls_while_settling_by_exact_gradients(case):
    network, x = case.build()
    dynamics = network.dynamics
    network = eqx.tree_at(
        lambda n: (n.dynamics.leak, n.dynamics.step_size),
        network,
        (jnp.zeros_like(dynamics.leak), jnp.full_like(dynamics.step_size, 0.005)),
    )
    settled = gncn.settle(network, jnp.asarray(x), n_settle_steps=40, keep_discrepancy=True)
    total = np.asarray(settled.trajectory.discrepancy.total)
    rounding = 1e-5 * (1 + np.abs(total[1:]))
    kinked = case.chain["activation"] == "relu" or case.chain["prediction_activation"] == "relu"
    allowed = rounding + (0.02 if kinked else 0.0)
    assert (np.diff(total, axis=0) >= -allowed).all()
    assert (total[-1] >= total[0] - rounding[-1]).all()


@settings(max_examples=15)
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
def test_tied_and_transposed_feedback_agree_where_all_derivatives_are_one(case):
    if case.chain["output_activation"] == "sigmoid":  # squared error through a sigmoid
        return
    tied, x = case.build()
    exact, _ = dataclasses.replace(case, chain={**case.chain, "feedback": "transposed"}).build()
    latents = off_equilibrium(tied, x, case.seed)
    responses = respond(tied, latents)
    for a, b in zip(
        state_changes(tied, latents, responses),
        state_changes(exact, latents, responses),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_precision_learning_finds_the_covariance_of_the_deviations():
    """The fixed point of Eq 7 is Σ = E[d dᵀ]."""
    from gncn.core.precision import hold_eigenvalues, precision_update

    rng = np.random.default_rng(0)
    root = rng.normal(size=(4, 4))
    d = jnp.asarray(rng.normal(size=(500, 4)) @ (0.5 * root + np.eye(4)), jnp.float32)
    share = jnp.full(500, 1 / 500)
    second_moment = np.asarray(d.T @ d) / 500

    def step(_, precisions):
        return tuple(
            hold_eigenvalues(p + 0.1 * precision_update(p, d, share), 1e-3, 1e3) for p in precisions
        )

    full, diagonal = jax.lax.fori_loop(0, 3000, step, (jnp.eye(4), jnp.ones(4)))
    np.testing.assert_allclose(np.linalg.inv(full), second_moment, rtol=0.02, atol=0.02)
    np.testing.assert_allclose(1 / diagonal, np.diag(second_moment), rtol=0.01)


def test_eigenvalues_are_held_and_the_matrix_is_exactly_symmetric():
    from gncn.core.precision import hold_eigenvalues

    rng = np.random.default_rng(1)
    for scale in (0.01, 1.0, 100.0):
        wild = jnp.asarray(scale * rng.normal(size=(7, 7)), jnp.float32)
        held = np.asarray(hold_eigenvalues(wild, 0.2, 5.0))
        assert (held == held.T).all()
        values = np.linalg.eigvalsh(held.astype(float))
        assert values.min() > 0.2 * (1 - 1e-4)
        assert values.max() < 5.0 * (1 + 1e-4)
    inside = jnp.asarray([[1.0, 0.3], [0.3, 2.0]])
    np.testing.assert_allclose(hold_eigenvalues(inside, 0.2, 5.0), inside, rtol=1e-5)


@pytest.mark.parametrize("activation", SMOOTH)
def test_learning_by_exact_gradients_raises_psi(activation):
    circuit = gncn.chain(
        (6, 5, 4),
        activation=activation,
        prediction_activation="tanh",
        precision="full",
        feedback="transposed",
        initial_state=0.3,
    )
    network = perturb(gncn.build(circuit, seed=0, n_settle_steps=30, leak=0.0), 0)
    x = jnp.asarray(np.random.default_rng(0).integers(0, 2, (20, 6)), jnp.float32)
    settled = gncn.settle(network, x)
    updates = hebbian_updates(network, settled.latents, settled.responses)
    eta = 1e-3
    learned = eqx.tree_at(
        lambda n: (n.forward_weights, n.precision),
        network,
        (
            jax.tree.map(lambda w, d: w + eta * d, network.forward_weights, updates.forward),
            jax.tree.map(lambda p, d: p + eta * d, network.precision, updates.precision),
        ),
        is_leaf=lambda leaf: leaf is None,
    )
    assert psi(learned, settled.latents) > psi(network, settled.latents)
