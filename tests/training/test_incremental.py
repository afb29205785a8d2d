"""Incremental predictive coding: synapses learn several times while a mini-batch settles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from budget import later
from gncn.base.errors import ConfigError
from gncn.core.learning import hebbian_updates
from gncn.core.states import initial_latents
from gncn.training.epochs import run_epoch, unstack
from gncn.training.examples import hold
from gncn.training.hebbian import Hebbian
from nets import rates

RULE = gncn.TrainingConfig(optimizer="sgd", n_epochs=1, batch_size=4)
RATES = rates(0.05, 0.7, 0.02)


def network(**settling):
    circuit = gncn.chain((6, 4, 3), precision="diagonal", activation="softplus")
    return gncn.build(circuit, seed=0, n_settle_steps=6, weight_scale=0.5, **settling)


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (n, 6)).astype(np.uint8)


def train(start, x, *, batch_size, n_epochs=1, ipc_updates=1):
    config = gncn.TrainingConfig(
        optimizer="sgd", n_epochs=n_epochs, batch_size=batch_size, ipc_updates=ipc_updates
    )
    method = Hebbian(config, len(x))
    state = method.start([start], [0])
    every = jax.tree.map(lambda rate: rate[None], RATES)
    reports = []
    for _ in range(n_epochs):
        state, report = run_epoch(state, hold(x), method, every)
        reports.append(report)
    return state, reports


def order(n, epoch=0):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), epoch)
    return np.asarray(jax.random.permutation(key, n))


def assert_close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-6)


@pytest.mark.parametrize("settler", ["euler", later("sequential")])
def test_synapses_learn_from_the_responses_that_move_the_states(settler):
    """Three updates in six steps, by hand: each from the responses of its segment's last step."""
    start, x = network(settler=settler), images(4)
    state, (report,) = train(start, x, batch_size=4, ipc_updates=3)
    method = Hebbian(RULE, 12)
    expected, learner = start, method.init(start)
    latents = initial_latents(start, jnp.asarray(x[order(4)], jnp.float32))
    psi = jnp.full(4, jnp.nan)
    for _ in range(3):
        latents = start.settler.plain_step(expected, (), latents)
        responses = expected.respond(latents)
        psi = gncn.total_discrepancy(expected, latents).total
        updates = hebbian_updates(expected, latents, responses)
        latents = start.settler.plain_step(expected, (), latents)
        expected, learner = method.update(expected, learner, updates, RATES)
    assert_close(unstack(state.network)[0], expected)
    assert int(state.learner.n_updates[0]) == 3
    assert float(report.mean.discrepancy[0]) == pytest.approx(float(psi.mean()), rel=1e-5)
    assert float(report.mean.n_steps[0]) == 6


def test_what_a_settler_remembers_outlives_an_update():
    """Momentum that began again at each update would give other states, and so other synapses."""
    start, x = network(settler="momentum", momentum=0.7), images(4)
    state, _ = train(start, x, batch_size=4, ipc_updates=3)
    method = Hebbian(RULE, 12)
    expected, learner = start, method.init(start)
    latents = initial_latents(start, jnp.asarray(x[order(4)], jnp.float32))
    memory = start.settler.init(start, latents)
    for _ in range(3):
        latents, memory = start.settler.step(expected, (), latents, memory)
        updates = hebbian_updates(expected, latents, expected.respond(latents))
        latents, memory = start.settler.step(expected, (), latents, memory)
        expected, learner = method.update(expected, learner, updates, RATES)
    assert_close(unstack(state.network)[0], expected)


def test_the_schedule_counts_every_update():
    config = gncn.TrainingConfig(
        optimizer="sgd", schedule="cosine", n_epochs=2, batch_size=4, ipc_updates=3
    )
    method = Hebbian(config, 8)
    state = method.start([network()], [0])
    every = jax.tree.map(lambda rate: rate[None], RATES)
    first, _ = run_epoch(state, hold(images(8)), method, every)
    assert int(first.learner.n_updates[0]) == 6  # of 12: the rates are at half their cosine
    second, _ = run_epoch(first, hold(images(8)), method, every)
    weights = [state.network.connections[0].forward for state in (first, second)]
    assert np.abs(weights[1] - weights[0]).max() > 1e-4  # it hasn't yet
    third, _ = run_epoch(second, hold(images(8)), method, every)
    assert_close(second.network, third.network)  # the schedule has come to its end, 0


def test_updates_while_settling_reach_a_lower_error():
    x = images(40)
    _, once = train(network(), x, batch_size=10, n_epochs=4)
    _, thrice = train(network(), x, batch_size=10, n_epochs=4, ipc_updates=3)
    assert thrice[-1].mean.error[0] < once[-1].mean.error[0]


@pytest.mark.parametrize(
    ("options", "training", "message"),
    [
        ({}, {"ipc_updates": 4}, r"must divide .*received 4 updates in 6 steps"),
        ({"tolerance": 0.1}, {"ipc_updates": 2}, r"received settling.tolerance=0\.1"),
    ],
)
def test_updates_that_do_not_fit_the_settling_are_refused(options, training, message):
    train, validation, test = (images(n).astype(float) for n in (8, 3, 3))
    data = gncn.from_arrays(train, validation_images=validation, test_images=test)
    with pytest.raises(ConfigError, match=message):
        gncn.fit(network(**options), data, gncn.TrainingConfig(**training))
