"""Learning over mini-batches: order, short batches, rates, trials, and the same bits twice."""

import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import gncn
from budget import later
from gncn.base.errors import ConfigError, DataError
from gncn.core import fast
from gncn.core.learning import hebbian_updates
from gncn.training import epochs
from gncn.training.epochs import Batch, average, run_epoch, unstack
from gncn.training.examples import hold
from gncn.training.fit import FitDivergenceError
from gncn.training.hebbian import Hebbian, statistics
from nets import Listens, perturb, rates

OPTIONS = {
    "competition": "columns",
    "group_size": 2,
    "precision": "full",
    "norm": "clipped",
    "max_norm": 0.8,
}


SGD = gncn.TrainingConfig(optimizer="sgd")


def hebbian(rule=SGD, n_images=10, n_epochs=1, batch_size=1):
    """Learning by a rule, whose schedule is as long as images, mini-batches and epochs say."""
    length = {"n_epochs": n_epochs, "batch_size": batch_size}
    return Hebbian(rule.model_copy(update=length), n_images)


def trial(state, index):
    return unstack(state.network)[index]


def forward(network):
    """W of every connection."""
    return [np.asarray(one.forward) for one in network.connections]


def feedback(network):
    """E of every connection."""
    return [np.asarray(one.feedback.weights) for one in network.connections]


def precision(network):
    """Σ⁻¹ of every layer: empty, a diagonal or a matrix."""
    leaves = (jax.tree.leaves(layer.errors) for layer in network.layers)
    return [np.asarray(found[0] if found else np.zeros(0)) for found in leaves]


def network(seed=0, **options):
    options = {**OPTIONS, **options}
    if options["norm"] == "off":
        options["max_norm"] = None
    circuit = gncn.chain((6, 4, 4), **options)
    return perturb(gncn.build(circuit, seed=seed, n_settle_steps=8, weight_scale=0.3), seed)


def images(n, pixels=6, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (n, pixels)).astype(np.uint8)


def dataset(n=47):
    return gncn.from_arrays(
        images(n).astype(float),
        validation_images=images(9, seed=1).astype(float),
        test_images=images(11, seed=2).astype(float),
    )


def learn_epoch(networks, x, batch_size, rule=SGD, n_epochs=1, rate=0.01, state=None, **options):
    method = hebbian(rule, len(x), n_epochs=n_epochs, batch_size=batch_size)
    state = state or method.start(networks, list(range(len(networks))))
    all_rates = jax.tree.map(lambda r: jnp.full(len(networks), r), rates(rate, 0.7, 0.02))
    return run_epoch(state, hold(x), method, all_rates, **options)


def assert_networks_close(a, b, **tolerance):
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(x, y, **({"rtol": 2e-4, "atol": 1e-6} | tolerance))


def test_an_epoch_is_its_batches_in_turn_the_short_one_by_its_own_mean():
    start, x = network(), images(7)
    state, report = learn_epoch([start], x, batch_size=3)
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(0), 1), 0)
    order = np.asarray(jax.random.permutation(key, 7))
    method, expected = hebbian(), start
    learner, errors = method.init(start), []
    for rows in (order[:3], order[3:6], order[6:]):
        settled = gncn.settle(expected, jnp.asarray(x[rows], jnp.float32))
        errors.append(np.asarray(statistics(expected, settled).error))
        updates = hebbian_updates(expected, settled.latents, settled.responses)
        expected, learner = method.update(expected, learner, updates, rates(0.01, 0.7, 0.02))
    assert_networks_close(trial(state, 0), expected)
    assert float(report.mean.error[0]) == pytest.approx(np.concatenate(errors).mean(), rel=1e-5)
    for found, batch in zip(report.batch_error[:, 0], errors, strict=True):
        assert float(found) == pytest.approx(batch.mean(), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["diagonal", "full"])
def test_synapses_learn_the_same_from_images_that_settle_in_blocks(kind, patched):
    start, method, x = network(precision=kind), hebbian(n_images=7, batch_size=7), images(7)
    learner = method.init(start)
    batch = Batch(jnp.asarray(x, jnp.float32), jnp.asarray([1.0] * 6 + [0.0]))

    def learn():
        return method.learn(start, learner, batch, jax.random.key(0), rates(0.5, 0.7, 0.02))

    whole = learn()
    patched(fast, "_BLOCK", 3)
    in_blocks = learn()
    assert_networks_close(in_blocks[0], whole[0])
    assert_networks_close(in_blocks[2], whole[2])


def test_a_batch_larger_than_the_data_is_all_the_data():
    a, _ = learn_epoch([network()], images(5), batch_size=5)
    b, _ = learn_epoch([network()], images(5), batch_size=64)
    assert_networks_close(trial(a, 0), trial(b, 0))


def test_one_sgd_step_is_rate_times_update_with_lambda_on_feedback():
    start = network(norm="off")
    settled = gncn.settle(start, jnp.asarray(images(4), jnp.float32))
    updates = hebbian_updates(start, settled.latents, settled.responses)
    method = hebbian()
    after, learner = method.update(start, method.init(start), updates, rates(0.1, 0.25, 0.01))
    for moved, w, e, update in zip(
        zip(forward(after), feedback(after), strict=True),
        forward(start),
        feedback(start),
        updates.connections,
        strict=True,
    ):
        np.testing.assert_allclose(moved[0], w + 0.1 * update, rtol=1e-5, atol=1e-7)
        np.testing.assert_allclose(moved[1], e + 0.025 * update.T, rtol=1e-5, atol=1e-7)
    expected = precision(start)[1] + 0.01 * updates.errors[1]
    np.testing.assert_allclose(precision(after)[1], expected, rtol=1e-4, atol=1e-6)
    assert int(learner.n_updates) == 1


def test_lambda_is_not_cancelled_by_adam():
    start = network(norm="off")
    settled = gncn.settle(start, jnp.asarray(images(4), jnp.float32))
    updates = hebbian_updates(start, settled.latents, settled.responses)
    method = hebbian(gncn.TrainingConfig(optimizer="adam"))

    def moved(feedback_rate):
        some = rates(0.1, feedback_rate, 0.0)
        after, _ = method.update(start, method.init(start), updates, some)
        return feedback(after)[0] - feedback(start)[0]

    np.testing.assert_allclose(moved(0.25), 0.25 * moved(1.0), rtol=1e-3, atol=1e-6)
    assert (moved(0.0) == 0).all()


def test_adam_moves_along_the_sign_of_the_first_update():
    start = network(norm="off")
    settled = gncn.settle(start, jnp.asarray(images(4), jnp.float32))
    updates = hebbian_updates(start, settled.latents, settled.responses)
    method = hebbian(gncn.TrainingConfig())
    after, _ = method.update(start, method.init(start), updates, rates(0.01))
    moved = forward(after)[0] - forward(start)[0]
    large = np.abs(updates.connections[0]) > 1e-4
    np.testing.assert_allclose(
        moved[large], 0.01 * np.sign(updates.connections[0])[large], rtol=1e-2
    )


@pytest.mark.parametrize(
    "rule", [gncn.TrainingConfig(), gncn.TrainingConfig(optimizer="sgd", momentum=0.8)]
)
def test_feedback_moves_as_by_an_optimiser_of_its_own(rule):
    network_of_e = network(norm="off")
    method = hebbian(rule)
    learner = method.init(network_of_e)
    own, expected = rule.direction(), feedback(network_of_e)
    state = own.init(expected)
    for step in range(3):
        settled = gncn.settle(network_of_e, jnp.asarray(images(4, seed=step), jnp.float32))
        updates = hebbian_updates(network_of_e, settled.latents, settled.responses)
        steps, state = own.update([update.T for update in updates.connections], state)
        expected = [e + 0.1 * 0.25 * d for e, d in zip(expected, steps, strict=True)]
        some = rates(0.1, 0.25, 0.0)
        network_of_e, learner = method.update(network_of_e, learner, updates, some)
        for a, b in zip(feedback(network_of_e), expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)
    moments = [leaf for leaf in jax.tree.leaves(learner.optimizer) if leaf.ndim == 2]
    assert {leaf.shape for leaf in moments} == {w.shape for w in forward(network_of_e)}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (gncn.TrainingConfig(), {0: 1.0, 50: 1.0, 99: 1.0}),
        (gncn.TrainingConfig(schedule="cosine"), {0: 1.0, 50: 0.5, 100: 0.0}),
        (gncn.TrainingConfig(schedule="cosine", final_fraction=0.2), {0: 1.0, 50: 0.6, 100: 0.2}),
        (
            gncn.TrainingConfig(schedule="exponential", final_fraction=0.01),
            {0: 1.0, 50: 0.1, 100: 0.01},
        ),
        (gncn.TrainingConfig(warmup_fraction=0.1), {0: 0.0, 5: 0.5, 10: 1.0, 60: 1.0}),
        (
            gncn.TrainingConfig(schedule="cosine", warmup_fraction=0.2),
            {0: 0.0, 10: 0.5, 20: 1.0, 60: 0.5},
        ),
    ],
)
def test_schedules(rule, expected):
    for n_updates, factor in expected.items():
        found = float(rule.rate_factor(100)(jnp.asarray(n_updates)))
        assert found == pytest.approx(factor, abs=1e-6)


def test_momentum_accumulates():
    start = network(norm="off", precision="off")
    settled = gncn.settle(start, jnp.asarray(images(4), jnp.float32))
    updates = hebbian_updates(start, settled.latents, settled.responses)
    method = hebbian(gncn.TrainingConfig(optimizer="sgd", momentum=0.9))
    after, learner = start, method.init(start)
    for _ in range(2):
        after, learner = method.update(after, learner, updates, rates(0.1))
    np.testing.assert_allclose(
        forward(after)[0],
        forward(start)[0] + 0.1 * (1 + 1.9) * updates.connections[0],
        rtol=1e-4,
        atol=1e-6,
    )


@pytest.mark.slow
def test_trials_trained_together_equal_trials_trained_alone():
    x = images(10)
    together, report = learn_epoch([network(0), network(1)], x, batch_size=4)
    assert report.mean.error.shape == (2,)
    alone, _ = learn_epoch([network(0)], x, batch_size=4)
    assert_networks_close(trial(together, 0), trial(alone, 0))
    a, b = (forward(trial(together, index))[0] for index in (0, 1))
    assert np.abs(a - b).max() > 0.01


@pytest.mark.parametrize("options", [later({}), {"precision": "diagonal", "feedback": "tied"}])
def test_trials_at_once_equal_trials_one_after_the_other(options):
    networks, x = [network(seed, **options) for seed in range(3)], images(23)
    (a, seen_a), (b, seen_b) = (
        learn_epoch(networks, x, 5, gncn.TrainingConfig(), chunk=2, together=together)
        for together in (False, True)
    )
    assert_networks_close((a.network, seen_a), (b.network, seen_b), rtol=1e-3)


def products_on_a_gpu(n_trials, monkeypatch, patched):
    """The products of an epoch's program as it is lowered for CUDA, for which no GPU is needed."""
    learn_chunk, caught = epochs._learn_chunk, []

    def catch(*arguments):
        caught.extend(arguments)
        raise InterruptedError

    networks = [network(seed, precision="diagonal") for seed in range(n_trials)]
    patched(jax, "default_backend", lambda: "gpu")
    with monkeypatch.context() as patch:
        patch.setattr(epochs, "_learn_chunk", catch)
        with pytest.raises(InterruptedError):
            learn_epoch(networks, images(10), 5, gncn.TrainingConfig())
    arrays, rest = eqx.partition(caught, eqx.is_array)
    program = jax.jit(lambda arrays: learn_chunk(*eqx.combine(arrays, rest)))
    lowered = program.trace(arrays).lower(lowering_platforms=("cuda",)).as_text()
    assert "custom_call" not in lowered  # nothing for which a GPU would wait for the host
    return re.findall(r"stablehlo\.dot_general.* -> tensor<(\S*)f32>", lowered)


@pytest.mark.slow
def test_on_a_gpu_all_trials_share_the_products_of_one(monkeypatch, patched):
    alone, seven = (products_on_a_gpu(n_trials, monkeypatch, patched) for n_trials in (1, 7))
    assert len(seven) == len(alone) > 0
    columns_at_the_start, n_steps = "1x2x", ""  # whatever the trial
    assert {shape for shape in seven if "7" not in shape} == {columns_at_the_start, n_steps}
    assert not any("7" in shape for shape in alone)


def numbers(network):
    """β, γ, α_e and α_h of all layers."""
    names = ("step_size", "leak", "self_excitation", "lateral_inhibition")
    return [getattr(layer, name) for layer in network.layers for name in names]


def numbered(number: float):
    """A network and rates that no other number gives."""
    one = network(feedback="learned")
    config = gncn.TrainingConfig(
        n_epochs=2,
        batch_size=8,
        learning_rate=0.01 * (1 + number),
        feedback_rate=1 / (1 + number),
        precision_rate=0.02 * (1 + number),
    )
    return eqx.tree_at(numbers, one, [leaf * (1 + 0.2 * number) for leaf in numbers(one)]), config


@pytest.mark.slow
def test_trials_of_other_numbers_equal_their_own_runs_and_compile_nothing_anew():
    def train(*trials):
        networks, configs = zip(*map(numbered, trials), strict=True)
        return gncn.fit(networks, dataset(), configs, seeds=[3] * len(trials))

    both = train(0.0, 1.0)
    for index, number in enumerate((0.0, 1.0)):
        alone = train(number)
        assert_networks_close(both.networks[index], alone.network, rtol=1e-3)
        mine = [record for record in both.history if record.trial == index]
        for a, b in zip(mine, alone.history, strict=True):
            assert a.validation.error == pytest.approx(b.validation.error, rel=1e-4)
    compiled = []

    def note(event, duration, **_):
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    other = train(0.5, 2.0)
    assert not compiled
    moved = forward(other.networks[0])[0] - forward(both.networks[0])[0]
    assert np.abs(moved).max() > 1e-3


def test_each_rate_is_the_trials_own():
    one, config = numbered(0.0)
    for name, value in (("learning_rate", 0.03), ("feedback_rate", 0.3), ("precision_rate", 0.1)):
        configs = (config, config.model_copy(update={name: value}))
        a, b = gncn.fit([one, one], dataset(), configs, seeds=[3, 3]).networks
        assert any(np.any(x != y) for x, y in zip(*map(jax.tree.leaves, (a, b)), strict=True))


def test_two_runs_with_one_seed_give_identical_bytes_and_another_seed_does_not():
    config = gncn.TrainingConfig(n_epochs=3, batch_size=8)
    a, b, c = (gncn.fit(network(), dataset(), config, seeds=seed) for seed in (4, 4, 5))
    for x, y in zip(jax.tree.leaves(a.network), jax.tree.leaves(b.network), strict=True):
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()
    strip = [record.model_copy(update={"seconds": 0.0}) for record in a.history]
    assert strip == [record.model_copy(update={"seconds": 0.0}) for record in b.history]
    assert not np.array_equal(forward(a.network)[0], forward(c.network)[0])


@pytest.mark.slow
@pytest.mark.parametrize("n_trials", [1, 2])
def test_chunks_change_nothing(n_trials):
    networks, x = [network(seed) for seed in range(n_trials)], images(37)
    whole = learn_epoch(networks, x, 5, gncn.TrainingConfig(), chunk=8)
    for size in (1, 3, 20):
        state, report = learn_epoch(networks, x, 5, gncn.TrainingConfig(), chunk=size)
        found, expected = ((s.network, s.learner) for s in (state, whole[0]))
        for a, b in zip(
            jax.tree.leaves((found, report)), jax.tree.leaves((expected, whole[1])), strict=True
        ):
            assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert (np.asarray(whole[0].learner.n_updates) == 8).all()


def test_the_state_before_an_epoch_outlives_it():
    state, _ = learn_epoch([network()], images(13), 5)
    before = jax.tree.map(np.array, (state.network, state.learner))
    learn_epoch([network()], images(13), 5, state=state, chunk=1)
    assert_networks_close((state.network, state.learner), before, rtol=0)


def test_progress_is_told_chunk_by_chunk_up_to_the_last_mini_batch():
    told = []
    method = hebbian(gncn.TrainingConfig(), 37, batch_size=5)
    some_rates = jax.tree.map(lambda rate: rate[None], rates())
    state = method.start([network()], [0])
    run_epoch(state, hold(images(37)), method, some_rates, told.append, chunk=3)
    assert told == [2, 5, 7]


@pytest.mark.parametrize("pixels", [6, 8, 19])
def test_bits_are_the_images(pixels):
    x = images(9, pixels)
    held = jax.device_put(hold(x))
    assert held.stored.nbytes == 9 * -(-pixels // 8)
    chosen = jnp.asarray([4, 0, 4, 8])
    np.testing.assert_array_equal(held.pixels(chosen), x[np.asarray(chosen)])
    assert held.pixels(chosen).dtype == jnp.float32
    grey = np.random.default_rng(0).random((9, pixels), np.float32)
    np.testing.assert_array_equal(hold(grey).pixels(chosen), grey[np.asarray(chosen)])


SMALL_RUN = """
import hashlib, jax, numpy as np, gncn
from nets import Listens
circuit = gncn.chain((6, 4), precision="full", norm="clipped")
x = np.random.default_rng(0).integers(0, 2, (70, 6)).astype(float)
config = gncn.TrainingConfig(n_epochs=2, batch_size=8)
network = gncn.build(circuit, seed=0, n_settle_steps=3)
result = gncn.fit(network, gncn.from_arrays(x), config, callbacks=[Listens()])
seen = [record.model_dump_json(exclude={"seconds"}) for record in result.history]
arrays = [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(result.network)]
print(hashlib.sha256("".join(seen).encode() + b"".join(arrays)).hexdigest())
"""


@pytest.mark.slow
def test_another_process_finds_all_programs_compiled_and_gives_the_same_bytes(tmp_path):
    kept = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path]),
    }

    def run():
        command = [sys.executable, "-c", SMALL_RUN]
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", check=True, env={**os.environ, **kept}
        )
        return done.stdout, {path.name for path in tmp_path.iterdir() if "atime" not in path.name}

    (first, programs), (second, after) = run(), run()
    assert first == second
    assert any("learn_chunk" in name for name in programs)
    assert any("see_blocks" in name for name in programs)
    assert after == programs


@pytest.mark.slow
def test_nothing_is_compiled_again_between_epochs():
    compiled = []

    def note(event, duration, **_):
        if "backend_compile" in event:
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(note)
    rule = gncn.TrainingConfig(schedule="cosine")
    state, _ = learn_epoch([network()], images(13), 5, rule, n_epochs=5)
    assert compiled  # the callback works
    state, _ = learn_epoch([network()], images(13), 5, rule, n_epochs=5, state=state)
    compiled.clear()
    learn_epoch([network()], images(13), 5, rule, n_epochs=5, state=state)
    assert not compiled


@pytest.mark.slow
@pytest.mark.parametrize("kind", [later("off"), later("diagonal"), "full"])
def test_an_epochs_program_is_made_once_for_all_chunks_and_epochs(kind):
    made = []

    def note(event, duration, **about):
        if "jaxpr_to_mlir" in event:
            made.append(about["fun_name"])

    jax.monitoring.register_event_duration_secs_listener(note)
    rule = gncn.TrainingConfig(schedule="cosine")
    start = gncn.build(gncn.chain((6, 4, 4), precision=kind), seed=0, n_settle_steps=8)
    jax.clear_caches()
    state, _ = learn_epoch([start], images(13), 5, rule, n_epochs=5)
    learn_epoch([start], images(13), 5, rule, n_epochs=5, state=state)
    assert made.count("jit(_learn_chunk)") == 1


@pytest.mark.slow
def test_training_settles_to_rest_if_the_network_asks_for_it():
    circuit = network().circuit
    restful = gncn.build(
        circuit, seed=0, n_settle_steps=300, tolerance=0.05, leak=0.3, self_excitation=0.0
    )
    result = gncn.fit(restful, dataset(), gncn.TrainingConfig(n_epochs=1, batch_size=10))
    for split in (result.history[0].train, result.history[0].validation):
        assert 1 < split.n_steps < 300


def test_evaluation_is_the_mean_over_images_whatever_the_block():
    one, x = network(), images(11)
    stacked = jax.tree.map(lambda leaf: leaf[None], one)
    settled = gncn.settle(one, jnp.asarray(x, jnp.float32))
    expected = jax.tree.map(lambda v: np.asarray(v).mean(0), statistics(one, settled))
    for size in (1, 4, 11, 50):
        found = average(stacked, hold(x), size, Hebbian.see)
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a[0], b, rtol=1e-4, atol=1e-5)
    active = [(np.asarray(z) > 1e-6).mean() for z in settled.latents[1:]]
    np.testing.assert_allclose(expected.sparsity, active, rtol=1e-5)


def test_training_lowers_the_error_and_the_test_images_have_no_influence():
    config = gncn.TrainingConfig(n_epochs=30, batch_size=10, learning_rate=0.02)
    prototypes = np.array([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 0, 1]], float)
    data = gncn.from_arrays(np.tile(prototypes, (30, 1)))
    result = gncn.fit(network(norm="off"), data, config)
    assert len(result.history) == 30
    assert result.status == "finished"
    assert result.history[-1].train.error < 0.5 * result.history[0].train.error
    other = gncn.from_arrays(
        data.train.images.astype(float),
        validation_images=images(5, seed=8).astype(float),
        test_images=images(5, seed=9).astype(float),
    )
    assert_networks_close(
        gncn.fit(network(norm="off"), other, config).network, result.network, rtol=0
    )


def test_gaussian_data_report_squared_error():
    x = np.random.default_rng(0).uniform(size=(50, 6))
    data = gncn.from_arrays(x, binarisation="none")
    circuit = gncn.chain((6, 4), likelihood="gaussian", output_precision="diagonal")
    start = gncn.build(circuit, seed=0)
    result = gncn.fit(start, data, gncn.TrainingConfig(n_epochs=2, batch_size=10))
    assert result.history[-1].error_name == "squared_error"
    test = gncn.settle(result.network, jnp.asarray(data.test.images))
    squared = ((np.asarray(test.reconstruction) - data.test.images) ** 2).sum(1).mean()
    assert result.history[-1].test.error == pytest.approx(squared, rel=1e-4)


def step_sizes(network):
    return [layer.step_size for layer in network.layers]


def test_divergence_stops_says_where_and_keeps_the_last_good_state():
    start = network(norm="off")
    start = eqx.tree_at(step_sizes, start, [jnp.float32(40.0)] * 3)
    with pytest.raises(FitDivergenceError, match="mini-batch 1 of epoch 1.*Lower.*step_size") as e:
        gncn.fit(start, dataset(), gncn.TrainingConfig(n_epochs=2, batch_size=10))
    assert_networks_close(e.value.last_good.network, start, rtol=0)
    assert e.value.last_good.status == "diverged"


def test_what_the_last_update_of_an_epoch_broke_is_not_kept():
    start = network(norm="off")
    config = gncn.TrainingConfig(n_epochs=3, batch_size=50, learning_rate=1e15)  # one mini-batch
    heard = []

    class Hears(Listens):
        def on_epoch(self, records, networks):
            heard.append(records)

    with pytest.raises(FitDivergenceError, match="last mini-batch of epoch 1.*after epoch 0") as e:
        gncn.fit(start, dataset(), config, callbacks=[Hears()])
    assert_networks_close(e.value.last_good.network, start, rtol=0)
    assert e.value.last_good.history == ()
    assert heard == []


def test_ctrl_c_keeps_what_was_trained():
    class Impatient(Listens):
        def on_start(self, start):
            self.size = (start.n_epochs, start.n_batches)

        def on_epoch(self, records, networks):
            if records[0].epoch == 2:
                raise KeyboardInterrupt

    callback = Impatient()
    config = gncn.TrainingConfig(n_epochs=5, batch_size=10)
    with pytest.raises(gncn.Interrupted, match="after epoch 2") as stopped:
        gncn.fit(network(), dataset(), config, callbacks=[callback])
    result = stopped.value.fit
    assert isinstance(stopped.value, KeyboardInterrupt)
    assert callback.size == (5, 5)
    assert result.status == "interrupted"
    assert [record.epoch for record in result.history] == [1, 2]
    two = gncn.fit(network(), dataset(), config.model_copy(update={"n_epochs": 2}))
    assert_networks_close(result.network, two.network, rtol=0)


def test_ctrl_c_between_two_callbacks_waits_until_both_have_heard():
    heard = []

    class Hears(Listens):
        def on_epoch(self, records, networks):
            heard.append(records[0].epoch)
            if heard == [1, 1, 2]:
                signal.raise_signal(signal.SIGINT)

    config = gncn.TrainingConfig(n_epochs=5, batch_size=10)
    handler = signal.default_int_handler
    before = signal.signal(signal.SIGINT, handler)
    try:
        with pytest.raises(gncn.Interrupted) as stopped:
            gncn.fit(network(), dataset(), config, callbacks=[Hears(), Hears()])
        kept = signal.getsignal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    result = stopped.value.fit
    assert heard == [1, 1, 2, 2]
    assert [record.epoch for record in result.history] == [1, 2]
    assert result.status == "interrupted"
    assert kept is handler


def test_ctrl_c_is_heard_within_an_epoch():
    class Impatient(Listens):
        def on_batch(self, number):
            self.number = number
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        callback = Impatient()
        config = gncn.TrainingConfig(n_epochs=1, batch_size=10)
        with pytest.raises(gncn.Interrupted, match="after epoch 0") as stopped:
            gncn.fit(network(), dataset(), config, callbacks=[callback])
    finally:
        signal.signal(signal.SIGINT, before)
    result = stopped.value.fit
    assert (result.status, callback.number) == ("interrupted", 0)
    assert_networks_close(result.network, network(), rtol=0)


def test_interrupts_are_nothing_to_hold_outside_the_main_thread():
    with ThreadPoolExecutor(1) as pool:
        config = gncn.TrainingConfig(n_epochs=1, batch_size=10)
        done = pool.submit(gncn.fit, network(), dataset(), config)
    assert done.result().status == "finished"


def test_misfits_are_refused():
    with pytest.raises(DataError, match=r"layer 0 has 5 neurons.*6 pixels"):
        gncn.fit(gncn.build(gncn.chain((5, 4)), seed=0), dataset())
    with pytest.raises(ConfigError, match="1 networks and 2 seeds"):
        gncn.fit(network(), dataset(), seeds=[0, 1])
    with pytest.raises(ConfigError, match="share one circuit"):
        gncn.fit([network(), network(feedback="tied")], dataset(), seeds=[0, 1])
    config = gncn.TrainingConfig()
    with pytest.raises(ConfigError, match="2 networks and 2 seeds and 1 configurations"):
        gncn.fit([network(), network()], dataset(), [config], seeds=[0, 1])
    other = config.model_copy(update={"batch_size": 20, "learning_rate": 0.1})
    with pytest.raises(ConfigError, match=r"learning_rate.*training.batch_size=\[50, 20\]"):
        gncn.fit([network(), network()], dataset(), [config, other], seeds=[0, 1])


def test_a_class_knows_how_it_learns():
    with pytest.raises(ConfigError, match=r"fit trains networks.*received \['int'\]"):
        gncn.fit(3, dataset())


@pytest.mark.parametrize(
    ("wiring", "options", "message"),
    [
        ({"feedback": "tied"}, {"feedback_rate": 0.3}, "feedback_rate=0.3 has no effect without"),
        ({}, {"precision_rate": 0.5}, "precision_rate=0.5 has no effect without network.prec"),
        ({}, {"precision_bounds": (0.5, 2.0)}, "precision_bounds=.* has no effect"),
        ({}, {"clip_norm": 1.0}, "clip_norm=1.0 has no effect"),
    ],
)
def test_options_without_effect_are_refused(wiring, options, message):
    plain = gncn.build(gncn.chain((6, 4), **wiring), seed=0)
    config = gncn.TrainingConfig(n_epochs=1, **options)
    with pytest.raises(ConfigError, match=message):
        gncn.fit(plain, dataset(), config)
    configs = [gncn.TrainingConfig(n_epochs=1), config]
    with pytest.raises(ConfigError):  # in whichever trial
        gncn.fit([plain, plain], dataset(), configs, seeds=[0, 1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"optimizer": "adamw"}, "'adam' or 'sgd'; received 'adamw'"),
        ({"momentum": 0.9}, "momentum belongs to optimizer='sgd'"),
        ({"precision_bounds": (2.0, 1.0)}, "0 < lowest <= highest"),
        ({"schedule": "exponential"}, "set final_fraction > 0"),
        ({"final_fraction": 0.1}, "a constant schedule has no final_fraction"),
        ({"n_epochs": 0}, "n_epochs.*received 0"),
        ({"learning_rate": -1.0}, "learning_rate.*received -1.0"),
        ({"feedback_rate": 1.5}, "feedback_rate.*received 1.5"),
        ({"batchsize": 5}, "Unknown option 'batchsize'"),
    ],
)
def test_wrong_training_options_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        gncn.TrainingConfig(**options)


def test_a_configuration_of_another_kind_and_trainings_without_end_are_refused(unchecked):
    network, data = gncn.build(gncn.chain((6, 4)), seed=0, n_settle_steps=2), images(13)
    for wrong in ({"n_epochs": 3}, [3]):
        with pytest.raises(ConfigError, match="config must be a `gncn.TrainingConfig`; received"):
            gncn.fit(network, data, wrong)
    endless = gncn.TrainingConfig(n_epochs=1_000_000, batch_size=1)
    with pytest.raises(ConfigError, match="2,147,483,647 updates; received .*n_epochs=1,000,000"):
        gncn.fit(network, images(2700), endless)


def test_without_a_better_epoch_it_stops_and_keeps_the_best():
    network = gncn.build(gncn.chain((6, 4)), seed=0, n_settle_steps=2)
    plan = gncn.TrainingConfig(n_epochs=9, batch_size=20, patience=2, learning_rate=1e-30)
    fit = gncn.fit(network, dataset(), plan)  # too small a rate to change anything
    assert [record.kept for record in fit.history] == [True, False, False]
    assert (fit.epochs_kept, fit.status) == ((1,), "finished")
    assert len({record.validation.error for record in fit.history}) == 1
