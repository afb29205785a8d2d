"""Training baselines: what it must bring, short batches, trials, early stopping, odd input."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import gncn
from budget import later
from gncn.base.errors import ConfigError, DataError
from gncn.baselines.autoencoder import Autoencoder
from gncn.baselines.descent import Backprop
from gncn.baselines.kinds import choose_variance
from gncn.data import Dataset, Split
from gncn.evaluation.likelihood import importance_log_likelihood
from gncn.evaluation.protocols import Decoder, StandardNormal, WithPrior
from gncn.runs.assess import mean_statistics
from gncn.runs.train import train
from gncn.training.checkpoints import Checkpoints
from gncn.training.epochs import Batch, average, run_epoch, unstack
from gncn.training.examples import hold
from gncn.training.fit import WORST_NATS_PER_PIXEL, FitDivergenceError
from gncn.training.history import EpochRecord, SplitRecord
from gncn.training.kinds import ModelKind
from gncn.training.progress import Fit, Interrupted
from nets import Listens, rates
from weighted import gaussians


def assert_same(a, b, **tolerance):
    for old, new in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(old, new, **tolerance)


def first(split: Split, n: int) -> Split:
    return split.subset(np.arange(n))


@pytest.fixture(scope="module")
def few(digits) -> Dataset:
    """Few digits, so that the last mini-batch of 20 is short."""
    return Dataset(
        "few",
        first(digits.train, 50),
        first(digits.validation, 30),
        first(digits.test, 30),
        (8, 8),
        10,
        "",
        "",
    )


def config(model, **training):
    return gncn.Config(
        model=model,
        backprop={"budget": 3000} if model == "dsrn" else {"budget": 3000, "n_latent": 4},
        training={"batch_size": 20, "n_epochs": 2, **training},
    )


def trains(data, *callbacks):
    """Training of a configuration with one variance."""
    return lambda run: train(run, data, callbacks=callbacks)


def chosen(choice):
    return choice.config.backprop.variance


def with_variances(run, variances):
    options = run.model_dump()
    options["backprop"]["variance"] = variances
    return gncn.Config(**options)


@pytest.mark.parametrize("kind", ["gvae", *(later(kind) for kind in ("rae", "gvae-cv", "gan-ae"))])
def test_every_autoencoder_improves_and_meets_the_protocols(trained, digits, kind):
    x = jnp.asarray(digits.test.images[:7], jnp.float32)
    errors = [record.test.error for record in trained(kind).history]
    assert errors[-1] < 0.8 * errors[0]
    model = trained(kind).network
    assert isinstance(model, Decoder)
    layers = model.encode_layers(x)
    width = model.blueprint.hidden
    assert [layer.shape for layer in layers] == [(7, width), (7, width), (7, 4)]
    np.testing.assert_array_equal(layers[-1], model.encode(x))
    reconstructed = 1 / (1 + np.exp(-np.asarray(model.decode(model.encode(x)))))
    np.testing.assert_allclose(model.reconstruct(x), reconstructed, rtol=1e-5)


@pytest.mark.parametrize("kind", ["gvae", later("gvae-cv")])
def test_the_elbo_is_below_the_importance_sampled_likelihood(trained, digits, kind):
    model = trained(kind).network
    images = digits.test.images[:60]
    x = jnp.asarray(images, jnp.float32)
    batch = Batch(x, jnp.ones(len(x)))
    keys = jax.random.split(jax.random.key(0), 200)
    draws = jax.jit(jax.vmap(lambda key: model.see(batch, key).discrepancy))(keys)
    elbo = np.asarray(draws).mean(axis=0)
    mean, std = model.posterior(model.encoder(x))
    estimate = importance_log_likelihood(
        WithPrior(model, StandardNormal(4)),
        gaussians(mean, np.asarray(std)[:, :, None] * np.eye(4)),
        images,
        key=jax.random.key(1),
        n_samples=500,
    )
    gap = estimate.values - elbo
    assert gap.mean() > 0.1
    assert (gap > -0.15).all()  # both are sampled
    assert estimate.mean > elbo.mean()


def energy_distance(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * cdist(a, b).mean() - cdist(a, a).mean() - cdist(b, b).mean())


@pytest.mark.slow
def test_adversarial_codes_are_nearer_the_prior_than_plain_ones(trained, digits):
    x = jnp.asarray(digits.train.images, jnp.float32)
    rng = np.random.default_rng(0)
    prior, again = rng.normal(size=(2, len(x), 4))
    floor = energy_distance(prior, again)
    mean, std = trained("gan-ae").network.posterior(trained("gan-ae").network.encoder(x))
    codes = np.asarray(mean) + np.asarray(std) * rng.normal(size=mean.shape)
    adversarial = energy_distance(codes, prior)
    plain = energy_distance(np.asarray(trained("rae").network.encode(x)), prior)
    assert adversarial < 0.2 * plain
    assert adversarial < 0.3
    assert floor < 0.02


@pytest.mark.slow
def test_the_classifier_learns(digits):
    run = gncn.Config(
        model="dsrn",
        backprop={"budget": 10_000, "penalty": 1e-4},
        training={"n_epochs": 20, "batch_size": 50, "learning_rate": 3e-3},
    )
    result = gncn.fit(run.models(digits), digits, run.training)
    assert result.history[-1].error_name == "error_percent"
    assert result.history[-1].test.error < 16
    predicted = result.network.classify(jnp.asarray(digits.test.images, jnp.float32))
    wrong = 100 * np.mean(np.asarray(predicted) != digits.test.labels)
    assert result.history[-1].test.error == pytest.approx(wrong, abs=1e-3)


@pytest.mark.slow
def test_the_last_short_batch_counts_by_its_own_mean(few):
    """Ten images in a batch of twenty do what they do in a batch of ten."""
    run = config("dsrn")
    model, ten = run.models(few)[0], first(few.train, 10)
    examples = hold(ten.images, ten.labels)
    of_ten, of_twenty = (
        Backprop(run.training.model_copy(update={"batch_size": size}), 10) for size in (10, 20)
    )
    state = of_ten.start([model], [0])
    every = jax.tree.map(lambda rate: rate[None], rates(1e-3))
    padded, exact = (run_epoch(state, examples, method, every)[0] for method in (of_twenty, of_ten))
    assert_same(padded.network, exact.network, rtol=1e-4, atol=1e-6)
    for old, new in zip(jax.tree.leaves(model), jax.tree.leaves(exact.network), strict=True):
        assert float(jnp.max(jnp.abs(new[0] - old))) > 0


def test_statistics_do_not_depend_on_blocks(few):
    model = config("rae").models(few)[0]
    stacked = jax.tree.map(lambda leaf: leaf[None], model)
    examples = hold(few.train.images)
    a, b = (average(stacked, examples, size, Backprop.see) for size in (50, 7))
    assert_same(a, b, rtol=1e-5)


@pytest.mark.slow
def test_trials_together_are_trials_alone_and_a_seed_is_a_run(few):
    run = config("gvae", learning_rate=1e-2)
    together = run.model_copy(update={"n_trials": 2, "seed": 3})
    both = gncn.fit(together.models(few), few, run.training, seeds=together.seeds)
    alone = run.model_copy(update={"seed": 4})
    single = gncn.fit(alone.models(few), few, run.training, seeds=alone.seeds)
    assert_same(both.networks[1], single.network, rtol=1e-3, atol=1e-4)
    again = gncn.fit(alone.models(few), few, run.training, seeds=alone.seeds)
    assert_same(single.network, again.network, rtol=0)
    other = gncn.fit(alone.models(few), few, run.training, seeds=99)
    assert not np.array_equal(other.network.encoder.weights[0], single.network.encoder.weights[0])


@pytest.mark.slow
def test_patience_stops_and_keeps_the_best_epoch_of_each_trial(few):
    run = config("rae", n_epochs=400, learning_rate=3e-2, patience=3)
    run = run.model_copy(update={"n_trials": 2})
    heard = []

    class Hears(Listens):
        def on_epoch(self, records, networks):
            heard.append(networks)

    result = gncn.fit(run.models(few), few, run.training, seeds=run.seeds, callbacks=[Hears()])
    assert len(result.history) < 800
    for trial in (0, 1):
        errors = [r.validation.error for r in result.history if r.trial == trial]
        assert result.epochs_kept[trial] == 1 + int(np.argmin(errors))
        kept = jax.tree.map(lambda leaf: leaf[None], result.networks[trial])
        examples = hold(few.validation.images)
        found = average(kept, examples, 200, Backprop.see).error[0]
        assert float(found) == pytest.approx(min(errors), rel=1e-5)
    assert len(result.history) // 2 - max(result.epochs_kept) == 3
    assert_same(tuple(heard[-1]), result.networks, rtol=0)
    assert len(set(result.epochs_kept)) == 2  # else the test would not see them mixed up


@pytest.mark.slow
def test_a_bound_is_monitored_by_itself(few):
    run = config("gvae", n_epochs=60, learning_rate=1e-2, patience=60)
    result = gncn.fit(run.models(few), few, run.training)
    psi = [record.validation.discrepancy for record in result.history]
    assert result.epochs_kept == (1 + int(np.argmax(psi)),)


def test_divergence_keeps_the_last_good_state(few):
    run = config("rae", learning_rate=1e9, optimizer="sgd")
    start = run.models(few)
    with pytest.raises(FitDivergenceError, match="learning_rate or training.clip_norm") as caught:
        gncn.fit(start, few, run.training)
    assert_same(caught.value.last_good.network, start[0], rtol=0)


@pytest.mark.slow
def test_weights_may_start_at_any_scale(few):
    """A decoder that is far off before it has learned anything has not diverged."""
    run = config("rae", n_epochs=2)
    started = jax.tree.map(lambda w: 2 * w if eqx.is_array(w) else w, run.models(few)[0])
    limit = WORST_NATS_PER_PIXEL * few.n_pixels
    assert mean_statistics(started, few.train, run).error > 2 * limit
    errors = [one.train.error for one in gncn.fit(started, few, run.training).history]
    assert errors[0] > errors[1] > limit


def test_a_diverged_classifier_is_noticed(few):
    model = config("dsrn").models(few)[0]
    broken = eqx.tree_at(
        lambda m: m.network.biases[0], model, jnp.full(model.blueprint.hidden, jnp.nan)
    )
    with pytest.raises(FitDivergenceError, match="diverged"):
        gncn.fit(broken, few, config("dsrn").training)


def test_what_does_not_fit_is_refused(few, digits):
    model = config("rae").models(few)[0]
    wide = Dataset(
        "wide",
        *(Split(2 * s.images.astype(np.float32)) for s in (few.train, few.validation, few.test)),
        (8, 8),
        None,
        "",
        "",
    )
    with pytest.raises(DataError, match="'rae' takes pixels in .* 'wide' have values from 0 to 2"):
        gncn.fit(model, wide)
    unlabelled = Dataset(
        "bare",
        *(Split(s.images) for s in (few.train, few.validation, few.test)),
        (8, 8),
        None,
        "",
        "",
    )
    with pytest.raises(DataError, match="labels of 10 classes; 'bare' has no labels"):
        gncn.fit(config("dsrn").models(few), unlabelled)
    with pytest.raises(ConfigError, match="'dsrn' learns labels, and 'bare' has none"):
        config("dsrn").models(unlabelled)
    narrow = Dataset(
        "narrow",
        *(Split(s.images[:, :60], s.labels) for s in (few.train, few.validation, few.test)),
        None,
        10,
        "",
        "",
    )
    with pytest.raises(DataError, match="images of 64 pixels, and images of 'narrow' have 60"):
        gncn.fit(model, narrow)
    with pytest.raises(ConfigError, match="feedback_rate=0.5 has no effect for 'rae'"):
        gncn.fit(model, few, gncn.TrainingConfig(feedback_rate=0.5))
    with pytest.raises(ConfigError, match="share one blueprint"):
        gncn.fit([model, config("gvae").models(few)[0]], few, seeds=[0, 1])
    network = gncn.build(gncn.chain((64, 4)), seed=0)
    with pytest.raises(ConfigError, match=r"of one kind; received \['Network', 'RAE'\]"):
        gncn.fit([network, model], few, seeds=[0, 1])
    with pytest.raises(ConfigError, match="clip_norm=1.0 has no effect"):
        gncn.fit(network, few, gncn.TrainingConfig(clip_norm=1.0))


def test_models_come_apart_as_they_were_stacked(few):
    run = config("rae").model_copy(update={"n_trials": 3})
    models = run.models(few)
    state = Backprop(run.training, len(few.train)).start(models, run.seeds)
    for one, again in zip(models, unstack(state.network), strict=True):
        assert isinstance(again, Autoencoder)
        assert_same(one, again, rtol=0)


@pytest.mark.slow
def test_the_variance_is_chosen_by_the_bound_on_validation_images(few):
    run = with_variances(config("gvae-cv", n_epochs=30, learning_rate=3e-3), (1.0, 0.1))
    told = []
    choice = choose_variance(run, trains(few), lambda best: told.append(chosen(best)))
    variance = chosen(choice)
    assert variance == max(choice.validation, key=lambda v: choice.validation[v])
    assert choice.fit.network.blueprint.variance == variance
    last = choice.fit.history[-1].validation.discrepancy
    assert choice.validation[variance] == pytest.approx(last)
    assert len(set(choice.validation.values())) == 2
    assert told == [1.0, variance]
    assert_same(train(run, few).network, choice.fit.network, rtol=0)
    with pytest.raises(ConfigError, match=r"one variance; received.*\(1.0, 0.1\)"):
        run.models(few)


@pytest.mark.slow
@pytest.mark.parametrize("interrupted", [1, 2])
def test_choosing_a_variance_ends_with_ctrl_c(few, interrupted):
    run = with_variances(config("gvae-cv", n_epochs=2), (1.0, 0.1, 0.5))
    begun = []

    class Impatient:
        def on_start(self, start):
            begun.append(start.n_epochs)

        def on_batch(self, number):
            pass

        def on_epoch(self, records, networks):
            if len(begun) == interrupted:
                raise KeyboardInterrupt

    told = []
    with pytest.raises(Interrupted) as stopped:
        choose_variance(run, trains(few, Impatient()), told.append)
    fit, (choice,) = stopped.value.fit, told
    assert len(begun) == interrupted
    assert (fit.network.blueprint.variance, fit.status) == (1.0, "interrupted")
    assert len(fit.history) == (1 if interrupted == 1 else 2)
    assert chosen(choice) == 1.0
    assert choice.fit.networks is fit.networks
    assert list(choice.validation) == [1.0]


@pytest.mark.parametrize("variance", [0.01, 1.5, (0.1, 0.01), (0.1, 0.1), ()])
def test_wrong_variances_are_refused(variance):
    with pytest.raises(ConfigError, match=r"variance must be .*0.025 to 1.*received"):
        gncn.Config(model="gvae-cv", backprop={"variance": variance})


class Pretended:
    """Instead of training: ψ of the validation images by variance, or Ctrl-C."""

    def __init__(self, psi, stop_at=None, history=True):
        self.psi, self.stop_at, self.history = psi, stop_at, history

    def __call__(self, run):
        variance = run.backprop.variance
        psi = self.psi[variance]
        one = SplitRecord(error=1.0, discrepancy=psi, layer_discrepancy=(), sparsity=())
        record = EpochRecord(
            trial=0, epoch=1, error_name="bce", seconds=1.0, train=one, validation=one, test=one
        )
        if self.stop_at != variance:
            return Fit((variance,), (record,), "finished", (1,))
        raise Interrupted(Fit((variance,), (record,) * self.history, "interrupted", (1,)))


def test_the_first_of_the_best_variances_is_chosen_and_ctrl_c_keeps_it():
    run, told = with_variances(config("gvae-cv"), (1.0, 0.1, 0.5)), []
    psi = {1.0: -5.0, 0.1: -3.0, 0.5: -3.0}
    choice = choose_variance(run, Pretended(psi), lambda best: told.append(chosen(best)))
    assert (chosen(choice), choice.fit.networks) == (0.1, (0.1,))
    assert choice.validation == psi
    assert told == [1.0, 0.1, 0.1]
    with pytest.raises(Interrupted) as stopped:
        choose_variance(run, Pretended(psi, stop_at=0.5))
    assert (stopped.value.fit.networks, stopped.value.fit.status) == ((0.1,), "interrupted")
    del told[:]
    with pytest.raises(Interrupted) as stopped:  # in the first, of which there is an epoch
        choose_variance(run, Pretended(psi, stop_at=1.0), told.append)
    assert stopped.value.fit.networks == (1.0,)
    assert [chosen(best) for best in told] == [1.0]
    with pytest.raises(Interrupted) as stopped:
        choose_variance(run, Pretended(psi, stop_at=1.0, history=False), told.append)
    assert stopped.value.fit.history == ()
    assert len(told) == 1


def test_each_variance_has_checkpoints_of_its_own(few, monkeypatch, tmp_path):
    seen, where = [], Checkpoints(tmp_path)

    def pretended(self, one, data, callbacks, checkpoints):
        seen.append(checkpoints and checkpoints.folder)
        return Pretended({1.0: 1.0, 0.1: 2.0})(one)

    monkeypatch.setattr(ModelKind, "train", pretended)
    several, one = (with_variances(config("gvae-cv"), v) for v in ((1.0, 0.1), (0.1,)))
    assert several.kind.train(several, few, (), where).networks == (0.1,)
    one.kind.train(one, few, (), where)
    several.kind.train(several, few)
    names = [where.of(f"variance-{variance}").folder for variance in (1.0, 0.1)]
    assert seen == [*names, where.folder, None, None]
    assert len({*seen}) == 4
    with pytest.raises(ConfigError, match=r"One model has one variance; received .*\(1.0, 0.1\)"):
        several.models(few)


def test_images_that_were_learned_from_choose_no_variance():
    with pytest.raises(ConfigError, match=r"one first; received backprop.variance=\(1.0, 0.1"):
        with_variances(config("gvae-cv", train_on="both"), (1.0, 0.1))
    assert with_variances(config("gvae-cv", train_on="both"), (0.1,)).training.train_on == "both"
