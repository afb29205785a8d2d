"""Measuring a model that is no GNCN: two codes, a linear decoder, numbers known otherwise."""

import itertools
from dataclasses import replace
from types import SimpleNamespace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

import gncn
from gncn.base.errors import ConfigError
from gncn.core.likelihood import GaussianErrors
from gncn.core.precision import Diagonal
from gncn.data import Dataset, Split
from gncn.evaluation.codes import fit_probe
from gncn.evaluation.completion import complete, missing_squared_error, visible_pixels
from gncn.evaluation.features import (
    fit_prototype_regressor,
    k_means_centres,
    random_features,
    rbm_features,
    some_images,
    triangle_features,
)
from gncn.evaluation.mixture import Moments
from gncn.evaluation.mixture_fit import fit_mixture
from gncn.evaluation.pixels import GaussianPixels
from gncn.evaluation.proposals import Proposer
from gncn.evaluation.protocols import StandardNormal, WithPrior
from gncn.evaluation.yardsticks import choose_regressors
from gncn.figures.style import tame
from gncn.measures import (
    Completion,
    Likelihood,
    LinearProbe,
    Measurable,
    Samples,
    Sparsity,
    Subject,
    Tight,
    Yardsticks,
    as_measurable,
)
from gncn.measures.code_yardsticks import CodeYardsticks
from gncn.measures.codes import CodeMap, probe_layer
from gncn.measures.generative import _by_learned_way
from gncn.measures.likelihood import draw_curve
from gncn.measures.measure import Result

SPLITS = ("train", "validation", "test")


class Linear(eqx.Module):
    weights: Float[Array, "dim pixels"]

    def decode(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes pixels"]:
        return codes @ self.weights


class Toy(Measurable):
    """Two latent layers: the images themselves less a half, and two codes."""

    def __init__(self, decoder):
        self.decoder = decoder
        self.own_prior = StandardNormal(2)
        self.fitted_prior = None
        self.has_codes = True

    def encode_layers(self, images):
        centred = images - np.float32(0.5)
        return [centred, centred @ np.asarray(self.decoder.weights).T / 4]

    def activities(self, layer, states):
        return np.maximum(states, 0) if layer == 1 else states

    def group_sizes(self):
        return [None, None]

    def completers(self, codes, images, visible):
        return {
            "ones": lambda x, visible: jnp.ones_like(x),
            "half": lambda x, visible: jnp.full_like(x, 0.5),
        }


@pytest.fixture(scope="module")
def subject() -> Subject:
    rng = np.random.default_rng(0)
    decoder = Linear(jnp.asarray(rng.normal(size=(2, 12)), jnp.float32))
    codes = rng.normal(size=(700, 2))
    logits = np.asarray(decoder.decode(jnp.asarray(codes, jnp.float32)))
    images = (rng.uniform(size=logits.shape) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    labels = (codes[:, 0] > 0).astype(np.int32)
    splits = [Split(images[a:b], labels[a:b]) for a, b in ((0, 500), (500, 600), (600, 700))]
    data = Dataset(
        name="toy",
        train=splits[0],
        validation=splits[1],
        test=splits[2],
        image_shape=(3, 4),
        n_classes=2,
        source="simulated",
        licence="none",
    )
    return Subject(Toy(decoder), data, "test")


def exact(subject, prior, images):
    """log p(x) by quadrature."""
    side = np.linspace(-7, 7, 281)
    grid = np.array(list(itertools.product(side, side)), np.float32)
    logits = np.asarray(subject.model.decoder.decode(jnp.asarray(grid)), np.float64)
    log_prior = np.asarray(prior.log_prob(jnp.asarray(grid)), np.float64)
    joint = images @ logits.T - np.logaddexp(0, logits).sum(1)[None] + log_prior[None]
    return np.logaddexp.reduce(joint + 2 * np.log(side[1] - side[0]), axis=1)


def test_validation_images_choose_how_wide_the_prior_is(subject):
    """The best log p(x) of validation images by quadrature, not of other images or codes."""
    shares, codes = (0.2, 0.02, 1.0, 9.0), subject.codes("train")
    variance = float(np.mean(np.var(codes, axis=0, dtype=np.float64)))
    found = subject.prior((2,), "full", shares)
    images = subject.data.validation.images.astype(float)
    mixture = fit_mixture(codes, 2, regularisation=0.2 * variance).mixture
    moments = Moments.of(mixture)
    truth = {
        share: exact(subject, moments.widened((share - 0.2) * variance), images).mean()
        for share in shares
    }
    assert max(truth.values()) - sorted(truth.values())[-2] > 0.02
    best = max(truth, key=truth.__getitem__)
    assert best not in (shares[0], min(shares))
    told = found.numbers["prior"]
    assert told["regularisation"] == pytest.approx(best * variance, rel=1e-5)
    assert told["validation_log_likelihood"] == pytest.approx(truth, abs=0.05)
    # The one that is chosen is fitted, not widened.
    wanted = fit_mixture(codes, 2, regularisation=best * variance).mixture
    assert np.abs(wanted.means - mixture.means).max() > 0.01
    np.testing.assert_allclose(
        found.prior.log_prob(jnp.asarray(codes[:9])),
        wanted.log_prob(jnp.asarray(codes[:9])),
        rtol=1e-3,
        atol=1e-3,
    )
    assert told["log_density_of_training_codes"] == pytest.approx(
        float(wanted.log_prob(jnp.asarray(codes)).mean()), rel=1e-4
    )
    alone = subject.prior((2,), "full", (best,)).numbers["prior"]
    assert "validation_log_likelihood" not in alone


def test_images_without_a_density_choose_nothing(subject):
    parts = {name: getattr(subject.data, name) for name in ("train", "validation", "test")}
    greys = {
        name: replace(split, images=split.images.astype(np.float32) / 2)
        for name, split in parts.items()
    }
    found = replace(subject, data=replace(subject.data, **greys)).prior((2,), "full", (0.2, 1.0))
    assert "validation_log_likelihood" not in found.numbers["prior"]


@pytest.mark.slow
def test_likelihoods_agree_with_quadrature_on_the_split_asked_for(subject):
    settings = {"n_components": (1, 3)}
    prior = subject.prior((1, 3), "full")
    measured = Likelihood(**settings, n_samples=20_000, curve=(10, 1000)).measure(subject)
    described = measured.numbers["prior"]
    assert described["n_components"] in (1, 3)
    assert set(described["validation_log_density"]) == {1, 3}
    assert "log_density_of_test_codes" in described
    images = subject.data.test.images.astype(float)
    truth = exact(subject, prior.prior, images)
    found = measured.numbers["likelihood"]
    assert found["mean"] == pytest.approx(truth.mean(), abs=0.05)
    np.testing.assert_allclose(measured.per_image["log_likelihood"], truth, atol=0.4)
    assert found["curve"]["mean"][0] < found["curve"]["mean"][1]
    own = measured.numbers["likelihood_own_prior"]
    own_truth = exact(subject, subject.model.own_prior, images)
    assert own["mean"] == pytest.approx(own_truth.mean(), abs=0.05)
    assert abs(own["mean"] - found["mean"]) > 0.01
    annealing = {"n_temperatures": 10, "n_chains": 24, "leapfrog_step": 0.4}
    sizes = {"tight_images": 20, "simulated_images": 12, "curve": (10, 5000)}
    tight = Tight(**settings, **sizes, **annealing).measure(subject).numbers["tight"]
    # Not the first images, which may be easier, but the same ones for every model and seed.
    assert tight["images"] == np.random.default_rng(0).permutation(len(truth))[:20].tolist()
    truth = truth[tight["images"]]
    assert tight["mean"] == pytest.approx(truth.mean(), abs=0.05)
    np.testing.assert_allclose(tight["per_image"], truth, atol=0.3)
    assert tight["sampling_error"] < 0.05
    same = tight["from_prior_samples"]
    assert same["n_samples"] == [10, 5000]
    assert same["mean"][1] == pytest.approx(truth[:20].mean(), abs=0.1)
    assert np.shape(same["per_image"]) == (2, 20)
    assert tight["importance_sampling"]["mean"] == pytest.approx(truth.mean(), abs=0.05)
    assert tight["importance_sampling"]["effective_sample_size"] > 300
    simulated = tight["simulated_images"]
    gaps = simulated["gaps"]
    assert simulated["n"] == 12
    assert simulated["gap"] == pytest.approx(simulated["upper"] - simulated["lower"], abs=1e-4)
    assert abs(simulated["gap"]) < 0.2
    assert gaps["lower_quartile"] <= gaps["median"] <= gaps["upper_quartile"]
    assert abs(gaps["worst"]) >= abs(gaps["median"])
    assert gaps["below_half_a_nat"] == gaps["below_2_nats"] == 1
    assert len(subject.priors) == 1  # both measures share the fit


def test_annealing_begins_at_gaussians_alone_and_importance_samples_at_the_priors_too(
    subject, monkeypatch
):
    shares = {}

    def watch(name, position):
        estimate = getattr(gncn.measures.tight, name)

        def watched(*given, **named):
            proposal = named.get("proposal") or given[position]
            shares[name] = proposal.prior_share
            return estimate(*given, **named)

        monkeypatch.setattr(gncn.measures.tight, name, watched)

    watch("annealed_log_likelihood", 2)
    watch("bracket", 3)
    watch("importance_log_likelihood", 1)
    sizes = {"tight_images": 2, "simulated_images": 2, "curve": (10,), "n_temperatures": 2}
    Tight(n_components=1, n_chains=1, **sizes).measure(subject)
    assert shares["annealed_log_likelihood"] == shares["bracket"] == 0
    assert shares["importance_log_likelihood"] > 0


def test_proposals_know_all_peaks_whichever_images_are_searched_with_them(subject, monkeypatch):
    """As for each image alone; the last ones fill up neither the search nor their block."""
    monkeypatch.setattr(gncn.measures.tight, "_CLIMBING", 3)
    model = WithPrior(subject.model.decoder, subject.prior((2,), "full", (0.2,)).prior)
    proposer = Proposer(model, jax.random.key(0), n_modes=2)
    x = subject.data.test.images[:7]
    of = gncn.measures.tight._proposals(proposer, subject.model, x, size=2)
    for rows in ([0, 1], [4, 5], [6, 6]):
        found = of(np.array(rows))
        alone = proposer(x[rows], subject.model.encode_layers(x[rows])[-1])
        np.testing.assert_allclose(found.means, alone.means, atol=0.02)
        np.testing.assert_allclose(found.log_weights, alone.log_weights, atol=0.02)


@pytest.mark.slow
def test_a_likelihood_without_curve_and_other_priors_is_the_same_number(subject):
    settings = {"n_components": 2, "n_samples": 100}
    plain = Likelihood(**settings).measure(subject)
    short = Likelihood(**settings, n_repeats=1, curve=(), other_priors=False).measure(subject)
    assert set(short.numbers) == {"prior", "likelihood"}
    assert "curve" not in short.numbers["likelihood"]
    assert short.numbers["likelihood"]["spread_over_prior_draws"] is None
    spread = plain.numbers["likelihood"]["spread_over_prior_draws"]
    difference = short.numbers["likelihood"]["mean"] - plain.numbers["likelihood"]["mean"]
    assert abs(difference) < 3 * spread


def test_codes_of_the_same_width_that_need_no_model(subject):
    found = CodeYardsticks().measure(subject).numbers["codes"]
    assert found["width"] == 2  # the toy's codes
    assert {name: one["n_features"] for name, one in found["probe"].items()} == {
        "pixels": 12,
        "random": 2,
        "local": 2,
        "prototypes": 2,
        "k_means": 2,
        "rbm": 2,
    }
    splits = (subject.data.train, subject.data.validation, subject.data.test)
    expected = direct_errors(subject, splits, 2, ("pixels", "rbm"))
    assert {name: errors_of(found)[name] for name in expected} == pytest.approx(expected)
    with pytest.raises(ConfigError, match="received 501 features and 500 images"):
        CodeYardsticks(code_width=501).measure(subject)


@pytest.mark.parametrize(("width", "seed", "rate"), [(5, 2, 0.01), (2, 1, 0.1)])
def test_validation_images_choose_the_learning_rate_of_the_rbm(subject, width, seed, rate):
    # On test images the other rate is better in the first case.
    other = replace(subject, seed=seed)
    found = CodeYardsticks(code_width=width).measure(other).numbers["codes"]["probe"]
    assert found["rbm"]["learning_rate"] == rate
    assert "learning_rate" not in found["random"]
    of = rbm_features(other.data.train.array, width, seed, rate)
    known = [(of(one.array), one.labels) for one in (getattr(other.data, n) for n in SPLITS)]
    probe = fit_probe(*known[0], *known[1])
    assert found["rbm"]["error_percent"] == probe.score(*known[2]).error
    assert found["rbm"]["validation_error_percent"] == probe.validation_error


def errors_of(found):
    return {name: one["error_percent"] for name, one in found["probe"].items()}


def direct_errors(subject, splits, width, names):
    """Errors of a probe on kinds of features, of images that have a class."""
    train, seed = splits[0].array, subject.seed
    make = {
        "pixels": lambda: lambda x: x.astype(np.float32),
        "random": lambda: random_features(train, width, seed=seed),
        "local": lambda: random_features(train, width, seed=seed, image_shape=(3, 4), patch=1),
        "prototypes": lambda: triangle_features(some_images(train, width, seed)),
        "k_means": lambda: triangle_features(k_means_centres(train, width, seed)),
        "rbm": lambda rate: rbm_features(train, width, seed, learning_rate=rate),
    }
    errors = {}
    for name in names:
        tried = []
        for rate in ([0.1], [0.01]) if name == "rbm" else ([],):
            of = make[name](*rate)
            known = [(of(s.array[s.labels >= 0]), s.labels[s.labels >= 0]) for s in splits]
            probe = fit_probe(*known[0], *known[1])
            on_validation = min(probe.validation_error.values())
            tried.append((on_validation, probe.score(*known[2]).error))
        # The first of the best, so that no test error decides.
        errors[name] = min(tried, key=lambda one: one[0])[1]
    return errors


def changed(subject, change, **options):
    """The subject with other images or labels of every split."""
    data = subject.data
    splits = {name: change(getattr(data, name)) for name in ("train", "validation", "test")}
    n_classes = None if splits["train"].labels is None else data.n_classes
    return replace(subject, data=replace(data, n_classes=n_classes, **splits), **options)


def test_images_without_a_class_take_no_part_and_negative_ones_have_no_rbm(subject):
    def change(split):
        # Classes of which every kind of features knows a different part.
        labels = (split.images[:, [0, 4, 8]].sum(1) > 1).astype(np.int32)
        labels[::3] = -1
        return Split(split.images[:200].astype(np.float32) - 0.5, labels[:200])

    other = changed(subject, change, split="validation", seed=3)
    splits = (other.data.train, other.data.validation, other.data.validation)
    measured = CodeYardsticks(code_width=5).measure(other).numbers["codes"]
    assert measured["width"] == 5
    found = errors_of(measured)
    names = ("pixels", "random", "local", "prototypes", "k_means")
    assert found == pytest.approx(direct_errors(other, splits, 5, names))
    assert len({*found.values()}) == 5  # so features that are swapped are noticed
    blank = changed(subject, lambda split: Split(split.images, np.full_like(split.labels, -1)))
    with pytest.raises(ConfigError, match=r"all images of a split have none \(-1\)"):
        CodeYardsticks().measure(blank)
    with pytest.raises(ConfigError, match="these data have none"):
        CodeYardsticks().measure(changed(subject, lambda split: Split(split.images)))


class Uncoded(Toy):
    def encode_layers(self, images):
        raise AssertionError("nothing here needs codes")


def test_validation_images_choose_the_supervised_yardstick(subject):
    tried = {"regressor_units": [2, 30], "regressor_dropout": [0.0, 0.7]}
    chosen = Yardsticks(**tried, n_regressors=2).measure(subject).numbers["yardsticks"]["m_mse"]
    found, by = chosen["supervised"], {}
    for units, dropout, error in found["validation"]:
        by[units, dropout] = error
    assert [*by] == [(2, 0.0), (2, 0.7), (30, 0.0), (30, 0.7)]
    best = min(by, key=by.__getitem__)
    assert (found["n_hidden"], found["dropout"], found["n_networks"]) == (*best, 2)
    expected = choose_regressors(
        subject.data.train.array,
        subject.data.validation.array,
        visible_pixels("right", (3, 4)),
        key=subject.key(5),
        n_hidden=best[:1],
        dropout=best[1:],
        n_networks=2,
    )
    images = subject.target.array
    completed = complete(expected, images, visible_pixels("right", (3, 4)))
    error = missing_squared_error(images, completed, visible_pixels("right", (3, 4)))
    assert found["m_mse"] == pytest.approx(error.mean, rel=1e-5)


def test_ridge_completion_needs_neither_codes_nor_labels(subject):
    bare = changed(subject, lambda split: Split(split.images), split="validation", seed=3)
    bare = replace(bare, model=Uncoded(subject.model.decoder))
    data, visible = bare.data, visible_pixels("top", (3, 4))
    found = Yardsticks(missing="top", ridge_prototypes=7).measure(bare).numbers["yardsticks"]
    fit = fit_prototype_regressor(data.train.array, data.validation.array, visible, 7, seed=3)
    images = data.validation.array
    error = missing_squared_error(images, complete(fit, images, visible), visible)
    assert found["m_mse"]["ridge"] == {
        "m_mse": pytest.approx(error.mean),
        "standard_error": pytest.approx(error.standard_error),
        "n_prototypes": 7,
        "penalty": fit.penalty,
    }
    supervised = found["m_mse"]["supervised"]
    # By default one network, which nothing chooses.
    ((units, dropout, best),) = supervised["validation"]
    assert (units, dropout, 1) == (512, 0.3, supervised["n_networks"])
    assert supervised["m_mse"] == pytest.approx(best, rel=1e-5)  # the same validation images
    other = fit_prototype_regressor(data.train.array, images, visible, 7, seed=4)
    other_error = missing_squared_error(images, complete(other, images, visible), visible)
    assert other_error.mean != error.mean


def test_silent_completion_is_calibrated_in_every_mode():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2, (60, 12)).astype(np.uint8)
    data = gncn.from_arrays(images, image_shape=(3, 4))
    network = gncn.build(gncn.chain((12, 6, 4)), seed=0, n_settle_steps=4, weight_scale=3.0)
    subject = Subject(as_measurable(network), data, "validation")
    ways = {
        mode: Completion(completion_ways=mode).measure(subject).numbers["completion"]["ways"]
        for mode in ("direct", "all", "paper")
    }
    assert {*ways["direct"]} == {"drift", "silent"}
    assert ways["paper"] == {"drift": ways["all"]["drift"]}
    assert ways["direct"] == {way: ways["all"][way] for way in ways["direct"]}
    raw = subject.model.direct_completers["silent"]
    visible, whole = visible_pixels("right", (3, 4)), data.validation.array
    plain = missing_squared_error(whole, complete(raw, whole, visible), visible).mean
    assert abs(ways["direct"]["silent"]["m_mse"] - plain) > 0.01


@pytest.mark.parametrize("ways", ["direct", "paper"])
def test_a_model_without_direct_ways_is_not_measured_by_them(subject, ways):
    with pytest.raises(ConfigError, match=f"without direct ways of completing .*={ways!r}"):
        Completion(completion_ways=ways).measure(subject)


def test_completion_scores_every_way_and_yardsticks_need_no_model(subject):
    measured = Completion().measure(subject)
    found = measured.numbers["completion"]
    hidden = subject.data.test.images.reshape(-1, 3, 4)[:, :, 2:].reshape(-1, 6).astype(float)
    assert found["n_missing_pixels"] == 6
    assert found["missing"] == "right"
    assert found["ways"]["half"]["m_mse"] == pytest.approx(1.5)
    ones = ((1 - hidden) ** 2).sum(1)
    assert found["ways"]["ones"]["m_mse"] == pytest.approx(ones.mean())
    np.testing.assert_allclose(measured.per_image["squared_error_ones"], ones)
    mean = subject.data.train.images.reshape(-1, 3, 4)[:, :, 2:].reshape(-1, 6).mean(0)
    expected = ((hidden - mean[None]) ** 2).sum(1).mean()
    assert found["best_way"] == "half"
    yardsticks = Yardsticks().measure(subject).numbers["yardsticks"]["m_mse"]
    assert yardsticks["mean_image"]["m_mse"] == pytest.approx(expected, rel=1e-4)
    assert yardsticks["supervised"]["m_mse"] < expected
    assert yardsticks["nearest_neighbours"]["m_mse"] < expected
    assert yardsticks["nearest_neighbours"]["k"] >= 1
    assert yardsticks["ridge"]["m_mse"] < expected
    assert yardsticks["ridge"]["n_prototypes"] == 500  # as many as there are images


def test_the_way_of_completing_is_chosen_by_validation_images_alone(subject):
    validation = subject.data.validation
    validation = Split(np.ones_like(validation.images), validation.labels)
    chosen = replace(subject, data=replace(subject.data, validation=validation))
    found = Completion().measure(chosen).numbers["completion"]
    assert found["ways"]["half"]["m_mse"] < found["ways"]["ones"]["m_mse"]  # on test images
    assert found["best_way"] == "ones"
    assert found["validation_m_mse"] == {"ones": pytest.approx(0), "half": pytest.approx(1.5)}


def test_a_mask_may_come_from_a_file(subject, tmp_path):
    visible = visible_pixels("left", (3, 4))
    np.save(tmp_path / "mask.npy", visible)
    measure = Completion(missing=str(tmp_path / "mask.npy"))
    found = measure.measure(subject)
    np.testing.assert_array_equal(found.pictures["visible"], visible)
    assert found.numbers["completion"]["missing"] == "a mask"
    np.save(tmp_path / "mask.npy", visible.astype(int))
    with pytest.raises(ConfigError, match="must hold booleans; received int64"):
        measure.check(subject)


def test_probe_and_sparsity_take_any_layer(subject):
    top = probe_layer(subject, 2)
    assert LinearProbe().measure(subject).numbers["probe"] == [top]
    assert top["layer"] == 2
    assert top["z"]["error_percent"] < 30
    assert top["z"]["error_percent"] == top["phi"]["error_percent"]
    codes = subject.codes("test")
    train, validation = subject.data.train.labels, subject.data.validation.labels
    probe = fit_probe(subject.codes("train"), train, subject.codes("validation"), validation)
    wrong = 100 * np.mean(probe.predict(codes) != subject.data.test.labels)
    assert top["z"]["error_percent"] == pytest.approx(wrong)
    assert np.sum(top["z"]["confusion"]) == 100
    assert LinearProbe(probe_layer=(1,)).measure(subject).numbers["probe"][0]["layer"] == 1
    with pytest.raises(ConfigError, match="from 1 to 2; received 0"):
        LinearProbe(probe_layer=(2, 0)).check(subject)
    first, second = Sparsity().measure(subject).numbers["sparsity"]
    images = subject.data.test.images
    assert first["active"] == pytest.approx(images.mean())
    n, active = images.shape[1], images.sum(1)
    hoyer = np.where(active > 0, (np.sqrt(n) - np.sqrt(active)) / (np.sqrt(n) - 1), 1)
    assert first["hoyer"] == pytest.approx(hoyer.mean(), rel=1e-4)
    assert second["active"] == pytest.approx((codes > 0).mean())


def test_a_subject_needs_a_split_to_report_on(subject):
    with pytest.raises(ConfigError, match="'validation' or 'test' images; received 'train'"):
        Subject(subject.model, subject.data, "train")


@pytest.fixture
def drawn(monkeypatch):
    """Figures that measures draw, kept instead of written."""
    kept = []

    def keep(figure, path):
        kept.append(figure)
        return path

    monkeypatch.setattr("gncn.figures.style.save_figure", keep)
    return kept


def tight_numbers(mean):
    return {
        "n_images": 5,
        "mean": mean,
        "standard_error": 0.1,
        "from_prior_samples": {"n_samples": [10, 1000], "mean": [-11.0, -9.5]},
        "simulated_images": {"gaps": {"median": 0.1, "worst": 0.5}},
        "importance_sampling": {"effective_sample_size": 7.2, "n_samples": 64, "mean": -9.1},
    }


@pytest.mark.parametrize(
    ("last", "tight", "said"),
    [
        (-9.0, None, "it rises by 3.0 nats from S = 10 to 1,000"),
        (-11.8, None, "it hardly depends on S here"),
        (-9.0, -8.5, "Annealing finds 1.00 nats more than S = 1,000 on the same 5 images"),
        (-9.0, -10.5, "Annealing is 1.00 nats below S = 1,000 on the same 5 images"),
    ],
)
def test_a_curve_says_how_far_it_rises_and_what_annealing_adds(
    subject, drawn, tmp_path, last, tight, said
):
    curve = {"n_samples": [10, 1000], "mean": [-12.0, last], "standard_error": [0.1, 0.1]}
    numbers = {"likelihood": {"curve": curve}}
    if tight is not None:
        numbers["tight"] = tight_numbers(tight)
    path = Likelihood().figure(Result(numbers), subject, tmp_path)
    assert path == tmp_path / "likelihood.png"
    (axes,) = drawn[0].axes
    title = axes.get_title(loc="left")
    assert said in title
    assert ("Gap on images that it simulated: median 0.10" in title) == (tight is not None)
    levels = [line.get_ydata()[0] for line in axes.lines]
    assert levels[0] == -12
    assert (tight in levels) == (-11 in levels) == (tight is not None)


def test_what_was_not_measured_has_neither_rows_nor_a_figure(subject, drawn, tmp_path):
    for measure in (Likelihood(), Tight(), LinearProbe()):
        assert measure.rows({}) == []
        assert measure.figure(Result(), subject, tmp_path) is None
    assert drawn == []
    annealed, importance, *_ = Tight().rows({"tight": tight_numbers(-8.5)})
    assert annealed[:2] == ("log p(x), annealed", "-8.50 nats")
    assert "0.10 (median), 0.50 (worst)" in annealed[2]
    assert importance[1:] == ("-9.10 nats", "the same images; 7 effective samples of 64")


@pytest.mark.parametrize("n", [3, 21])
def test_only_a_small_confusion_matrix_has_numbers(subject, drawn, tmp_path, n):
    confusion = 5 * np.eye(n, dtype=int)
    confusion[0, 1] = 4
    top = {"layer": 2, "better_on_validation": "z"}
    top["z"] = {"error_percent": 2.5, "confusion": confusion.tolist()}
    below = {"layer": 1, "better_on_validation": "phi", "phi": {"error_percent": 9.0}}
    LinearProbe().figure(Result({"probe": [top, below]}), subject, tmp_path)
    (axes,) = drawn[0].axes
    assert "2.50 % wrong" in axes.get_title(loc="left") + axes.get_title()
    written = [text.get_text() for text in axes.texts]
    assert sorted(written) == (["4", "5", "5", "5"] if n == 3 else [])
    np.testing.assert_array_equal(axes.images[0].get_array(), confusion - 5 * np.eye(n))


def test_codes_without_labels_are_laid_out_without_classes(subject, drawn, tmp_path, monkeypatch):
    layout = SimpleNamespace(positions=np.eye(4, 2), indices=np.arange(4))
    monkeypatch.setattr("gncn.measures.codes.embed", lambda *_, **__: layout)
    splits = {name: Split(getattr(subject.data, name).images) for name in SPLITS}
    bare = replace(subject.data, n_classes=None, **splits)
    found = CodeMap().measure(Subject(subject.model, bare, "test"))
    assert [*found.pictures] == ["embedding"]
    CodeMap().figure(found, subject, tmp_path)
    labelled = CodeMap().measure(subject)
    np.testing.assert_array_equal(
        labelled.pictures["embedding_labels"], subject.data.test.labels[:4]
    )
    CodeMap().figure(labelled, subject, tmp_path)
    n_groups = [len(figure.axes[0].collections) for figure in drawn]
    assert n_groups == [1, len(set(subject.data.test.labels[:4].tolist()))]
    assert not drawn[0].axes[0].texts


def test_a_learned_way_is_learned_once_for_every_mask(subject):
    x = subject.data.test.array[:4].astype(np.float32)
    visible = np.ones((4, 12), bool)
    visible[1:3, :6] = False
    visible[3, 6:] = False
    found = _by_learned_way(subject.model, x, visible, "half", subject.data)
    np.testing.assert_array_equal(found, np.where(visible, x, 0.5))
    with pytest.raises(ConfigError, match="Unknown way 'most'. Choose one of: 'ones', 'half'"):
        _by_learned_way(subject.model, x, visible, "most", subject.data)
    np.testing.assert_array_equal(  # nothing is missing, so nothing is learned
        _by_learned_way(subject.model, x, visible[:1].repeat(4, 0), "most", subject.data), x
    )


@pytest.mark.parametrize("others", [True, False])
def test_log_p_has_a_number_for_each_prior(subject, monkeypatch, others):
    own, seen = SimpleNamespace(prior=StandardNormal(2), numbers={"prior": {}}), []

    def measured(self, subject, prior):
        seen.append(type(prior).__name__)
        return {"numbers": {"mean": -len(seen)}, "per_image": np.zeros(100)}

    monkeypatch.setattr(Subject, "prior", lambda *_: own)
    monkeypatch.setattr(Likelihood, "_with", measured)
    found = Likelihood(other_priors=others).measure(subject)
    names = ["likelihood", "likelihood_own_prior", "likelihood_training_codes"]
    assert [*found.numbers] == ["prior", *names[: 3 if others else 1]]
    assert seen == ["StandardNormal", "StandardNormal", "EmpiricalPrior"][: 3 if others else 1]


def test_a_measure_may_be_registered_again():
    before = gncn.registered("measure")
    gncn.register("measure", "likelihood", Likelihood)
    assert gncn.registered("measure") == before


class Bell(Linear):
    """With a Gaussian output of deviation 0.5."""

    @property
    def output(self):
        precision = Diagonal(jnp.full(12, 4.0))
        return GaussianPixels(GaussianErrors("identity", precision))


@pytest.mark.parametrize("kind", ["binary", "greys", "gaussian"])
def test_samples_are_drawn_where_a_draw_can_be_an_image(subject, monkeypatch, kind):
    own = SimpleNamespace(prior=StandardNormal(2), numbers={})
    monkeypatch.setattr(Subject, "prior", lambda *_: own)
    model, data = subject.model, subject.data
    if kind == "gaussian":
        model = Toy(Bell(model.decoder.weights))
    if kind == "greys":
        splits = {name: getattr(data, name) for name in SPLITS}
        half = {n: Split(one.images * np.float32(0.5), one.labels) for n, one in splits.items()}
        data = replace(data, **half)
    found = Samples().measure(Subject(model, data, "test"))
    means, drawn = (found.pictures[name] for name in ("samples", "samples_drawn"))
    if kind == "greys":
        np.testing.assert_array_equal(drawn, means)
    elif kind == "binary":
        assert set(np.unique(drawn).tolist()) == {0, 1}
        assert abs((drawn - means).mean()) < 0.04
    else:
        assert np.std(drawn - means) == pytest.approx(0.5, abs=0.05)
    what = "means" if kind == "greys" else "draws"
    assert f"Euclidean, of {what};" in found.numbers["samples"]["note"]
    each = drawn[:, None].astype(float) - data.train.images[None]
    nearest = np.linalg.norm(each, axis=2).min(axis=1)
    distance = found.numbers["samples"]["distance_to_nearest_training_image"]
    assert distance == pytest.approx(nearest.mean(), rel=1e-3)


def test_the_legend_of_the_curve_over_s_covers_no_line_and_no_band(drawn, tmp_path):
    curve = {"n_samples": [10, 100], "mean": [-9.0, -8.0], "standard_error": [0.1, 0.1]}
    tight = {"n_images": 5, "mean": -7.0, "standard_error": 0.5, "from_prior_samples": curve}
    tight["simulated_images"] = {"gaps": {"median": 0.1, "worst": 0.2}}
    draw_curve(Result({"likelihood": {"curve": curve}, "tight": tight}), tmp_path)
    (figure,) = drawn
    tame(figure)  # as it is when it is saved
    figure.draw_without_rendering()
    (legend,), (axes,) = figure.legends, figure.axes
    assert len(legend.get_texts()) == 3
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    assert axes.get_window_extent().height > figure.bbox.height / 2
