"""Departures from the paper's recipe that save time: learning while settling, other starts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from gncn.base.errors import ConfigError
from gncn.core.learning import Rule, apply_updates, hebbian_updates, rates, start_learner
from gncn.core.network import operands
from gncn.core.settling import initial_latents, settle, settle_step
from gncn.training.epochs import trial
from gncn.training.examples import hold
from gncn.training.hebbian import Plan, start_training, statistics, train_epoch
from oracle import Oracle

RULE = Rule(optimizer="sgd")
RATES = rates(0.05, 0.7, 0.02, 0.5)


def network(**options):
    settling = {name: options.pop(name) for name in ("tolerance",) if name in options}
    circuit = gncn.chain((6, 4, 3), precision="diagonal", activation="softplus", **options)
    return gncn.build(circuit, seed=0, n_settle_steps=6, weight_scale=0.5, **settling)


def images(n, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (n, 6)).astype(np.uint8)


def train(start, x, *, batch_size, n_epochs=1, **ways):
    plan = Plan(RULE, n_epochs, batch_size, **ways)
    state = start_training([start], RULE, [0], len(x) if plan.keep_states else None)
    every = jax.tree.map(lambda rate: rate[None], RATES)
    reports = []
    for _ in range(n_epochs):
        state, report = train_epoch(state, hold(x), every, plan)
        reports.append(report)
    return state, reports


def order(n, epoch=0):
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), epoch)
    return np.asarray(jax.random.permutation(key, n))


def assert_close(a, b):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, rtol=2e-4, atol=1e-6)


def test_synapses_learn_from_the_responses_that_move_the_states():
    """Three updates in six steps, by hand: each from the responses of its segment's last step."""
    start, x = network(), images(4)
    state, (report,) = train(start, x, batch_size=4, updates_per_batch=3)
    expected, learner = start, start_learner(start, RULE)
    latents = initial_latents(start, jnp.asarray(x[order(4)], jnp.float32))
    for _ in range(3):
        right = operands(expected)
        (latents, _), _ = settle_step(expected, right, latents, None)
        (latents, _), at = settle_step(expected, right, latents, None)
        psi = gncn.total_discrepancy(expected, at.point).total
        updates = hebbian_updates(expected, at.point, at.responses)
        expected, learner = apply_updates(expected, learner, updates, RATES, RULE, 3)
    assert_close(trial(state, 0), expected)
    assert int(state.learner.n_updates[0]) == 3
    assert float(report.mean.discrepancy[0]) == pytest.approx(float(psi.mean()), rel=1e-5)
    assert float(report.mean.n_steps[0]) == 6


def test_the_schedule_counts_every_update():
    rule = Rule(optimizer="sgd", schedule="cosine")
    plan = Plan(rule, 2, 4, updates_per_batch=3)
    state = start_training([network()], rule, [0])
    every = jax.tree.map(lambda rate: rate[None], RATES)
    first, _ = train_epoch(state, hold(images(8)), every, plan)
    assert int(first.learner.n_updates[0]) == 6  # of 12: the rates are at half their cosine
    second, _ = train_epoch(first, hold(images(8)), every, plan)
    third, _ = train_epoch(second, hold(images(8)), every, plan)
    assert_close(second.network, third.network)  # the schedule has come to its end, 0


def test_updates_while_settling_reach_a_lower_error():
    x = images(40)
    _, once = train(network(), x, batch_size=10, n_epochs=4)
    _, thrice = train(network(), x, batch_size=10, n_epochs=4, updates_per_batch=3)
    assert thrice[-1].mean.error[0] < once[-1].mean.error[0]


def test_an_amortised_start_is_a_pass_up_and_learns_by_the_delta_rule():
    start, x = network(start="amortised"), images(4)
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=a.shape).astype(np.float32) for a in start.start_weights]
    start = gncn.Network(**{**vars(start), "start_weights": tuple(map(jnp.asarray, weights))})
    z1 = x @ weights[0].T.astype(float)
    sent = np.log1p(np.exp(z1))
    z2 = sent @ weights[1].T
    first = initial_latents(start, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(first[1], z1, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(first[2], z2, rtol=1e-5, atol=1e-5)

    state, _ = train(start, x, batch_size=4)
    settled = settle(start, jnp.asarray(x, jnp.float32)).latents
    oracle = Oracle(start)
    by_hand = [np.array(x[0], float), z1[0], z2[0]]
    for _ in range(6):
        by_hand = oracle.step(by_hand)
    np.testing.assert_allclose(settled[2][0], by_hand[2], rtol=1e-3, atol=1e-4)
    for index, (sending, began) in enumerate([(x, z1), (sent, z2)]):
        delta = (np.asarray(settled[index + 1]) - began).T @ sending / 4
        np.testing.assert_allclose(
            trial(state, 0).start_weights[index],
            weights[index] + 0.05 * 0.5 * delta,
            rtol=1e-3,
            atol=1e-5,
        )


def test_an_amortised_start_is_scheduled_as_synapses_are():
    """The first of two updates has the whole rate with a cosine, and none while rates warm up."""
    start, x = network(start="amortised"), images(8)
    for options, share in (({"schedule": "cosine"}, 1.0), ({"warmup_fraction": 0.5}, 0.0)):
        scheduled = Rule(optimizer="sgd", **options)
        learned = {}
        for rule in (RULE, scheduled):
            state = start_training([start], rule, [0])
            every = jax.tree.map(lambda rate: rate[None], RATES)
            plan = Plan(rule, 2, 8)  # an epoch is one update of two
            state, _ = train_epoch(state, hold(x), every, plan)
            learned[rule] = [np.asarray(a) for a in trial(state, 0).start_weights]
        for plain, found in zip(learned[RULE], learned[scheduled], strict=True):
            assert np.abs(plain).max() > 1e-4
            np.testing.assert_allclose(found, share * plain, rtol=1e-5, atol=1e-7)


def test_an_amortised_start_comes_nearer_to_where_settling_ends():
    x = images(30)
    state, _ = train(network(start="amortised", feedback="tied"), x, batch_size=10, n_epochs=40)
    trained, data = trial(state, 0), jnp.asarray(x, jnp.float32)
    settled = settle(trained, data).latents

    def distance(states):
        pairs = zip(states[1:], settled[1:], strict=True)
        return sum(float(jnp.sum((a - b) ** 2)) for a, b in pairs)

    nothing = tuple(jnp.zeros_like(z) for z in settled)
    assert distance(initial_latents(trained, data)) < 0.6 * distance(nothing)


def test_kept_states_are_where_settling_starts_in_the_next_epoch():
    start, x = network(), images(7)
    state, _ = train(start, x, batch_size=3, n_epochs=2, keep_states=True)
    expected, learner = start, start_learner(start, RULE)
    kept = [np.zeros((7, 4), np.float32), np.zeros((7, 3), np.float32)]
    for epoch in range(2):
        rows = order(7, epoch)
        for chosen in (rows[:3], rows[3:6], rows[6:]):
            data = jnp.asarray(x[chosen], jnp.float32)
            begin = (data, *(jnp.asarray(states[chosen]) for states in kept))
            settled = settle(expected, data, start=begin)
            updates = hebbian_updates(expected, settled.latents, settled.responses)
            expected, learner = apply_updates(expected, learner, updates, RATES, RULE, 6)
            for states, new in zip(kept, settled.latents[1:], strict=True):
                states[chosen] = new
    assert_close(trial(state, 0), expected)
    for found, wanted in zip(state.learner.states, kept, strict=True):
        np.testing.assert_allclose(found[0], wanted, rtol=1e-3, atol=1e-5)


def test_incremental_learning_of_an_amortised_start_counts_its_synapses():
    plain, amortised = network(), network(start="amortised")
    assert amortised.circuit.n_synapses == plain.circuit.n_synapses + 6 * 4 + 4 * 3
    state, _ = train(amortised, images(8), batch_size=4, updates_per_batch=2)
    assert all(np.abs(a).max() > 0 for a in trial(state, 0).start_weights)
    seen = statistics(amortised, settle(amortised, images(3)))
    assert np.isfinite(seen.error).all()


@pytest.mark.parametrize(
    ("options", "training", "message"),
    [
        ({}, {"updates_per_batch": 4}, r"must divide .*received 4 updates in 6 steps"),
        ({"tolerance": 0.1}, {"updates_per_batch": 2}, r"received settling.tolerance=0\.1"),
        ({"start": "amortised"}, {"keep_states": True}, "network.start='amortised' would have no"),
    ],
)
def test_ways_that_do_not_go_together_are_refused(options, training, message):
    train, validation, test = (images(n).astype(float) for n in (8, 3, 3))
    data = gncn.from_arrays(train, validation_images=validation, test_images=test)
    with pytest.raises(ConfigError, match=message):
        gncn.fit(network(**options), data, gncn.TrainingConfig(**training))


def test_states_of_streamed_images_are_not_kept(tmp_path):
    np.save(tmp_path / "images.npy", images(30).astype(np.float32))
    data = gncn.load_file(tmp_path / "images.npy", stream=True, n_validation=5, n_test=5)
    with pytest.raises(ConfigError, match="keep_states.*is streamed for being larger"):
        gncn.fit(network(), data, gncn.TrainingConfig(keep_states=True))
