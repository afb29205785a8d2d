"""EM: monotone, equal to scikit-learn's, and indifferent to dead units."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from sklearn.mixture import GaussianMixture

import gncn.evaluation.mixture_fit
import weighted
from budget import examples, later
from gncn.base.errors import ConfigError, DataError, DivergenceError
from gncn.evaluation.mixture import COVARIANCES
from gncn.evaluation.mixture_fit import choose_mixture, fit_mixture, log_joint
from gncn.measures.subject import Subject

SKLEARN = {"full": "full", "diagonal": "diag"}


def clusters(n=600, dim=4, k=5, seed=0, spread=3.0):
    rng = np.random.default_rng(seed)
    means = spread * rng.normal(size=(k, dim))
    roots = rng.normal(size=(k, dim, dim)) / np.sqrt(dim)
    label = rng.integers(0, k, n)
    noise = np.einsum("nij,nj->ni", roots[label], rng.normal(size=(n, dim)))
    return (means[label] + noise).astype(np.float32)


def start(n, k, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(k, 0.3), n)


def fit_from(responsibilities, codes, *args, **options):
    """Fit a mixture from these responsibilities and not from clusters."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            gncn.evaluation.mixture_fit, "start_responsibilities", lambda *_: responsibilities
        )
        return fit_mixture(codes, *args, **options)


def scikit_learns(codes, responsibilities, covariance, regularisation):
    """scikit-learn's EM from the same responsibilities."""
    mixture = GaussianMixture(
        responsibilities.shape[1],
        covariance_type=SKLEARN[covariance],
        reg_covar=regularisation,
        tol=1e-9,
        max_iter=3000,
    )
    mixture._initialize(codes, responsibilities)
    mixture.weights_init, mixture.means_init = mixture.weights_, mixture.means_
    mixture.precisions_init = {
        "full": lambda c: c @ np.swapaxes(c, 1, 2),
        "diagonal": np.square,
    }[covariance](mixture.precisions_cholesky_)
    return mixture.fit(codes)


@pytest.mark.parametrize("covariance", COVARIANCES)
@pytest.mark.parametrize("k", [3, later(11)])
def test_agrees_with_scikit_learn(covariance, k):
    codes = clusters().astype(np.float64)
    responsibilities = start(len(codes), k)
    fit = fit_from(
        responsibilities,
        codes,
        k,
        covariance,
        regularisation=1e-6,
        tolerance=1e-9,
        max_iterations=3000,
    )
    theirs = scikit_learns(codes, responsibilities, covariance, 1e-6)
    assert fit.converged
    assert fit.log_likelihood == pytest.approx(theirs.score(codes), abs=1e-4)
    ours = np.asarray(fit.mixture.log_prob(jnp.asarray(codes)))
    assert ours.mean() == pytest.approx(theirs.score(codes), abs=1e-4)


@settings(max_examples=examples(12), deadline=None)
@given(
    covariance=st.sampled_from(COVARIANCES),
    k=st.sampled_from([1, 4, 12]),
    seed=st.integers(0, 1000),
    regularisation=st.sampled_from([1e-6, 1e-3, 1.0]),
    dead=st.booleans(),
    random=st.booleans(),
)
def test_objective_never_falls(covariance, k, seed, regularisation, dead, random):
    codes = clusters(150, seed=seed)
    if dead:
        codes[:, 0] = 0
        codes[:, 1] = np.maximum(codes[:, 1], 0)
    options = {"regularisation": regularisation, "tolerance": 1e-9, "max_iterations": 100}
    if random:
        fit = fit_from(start(len(codes), k, seed), codes, k, covariance, **options)
    else:
        fit = fit_mixture(codes, k, covariance, seed=seed, **options)
    scale = 1e-5 * max(1, np.abs(fit.objective).max())
    assert (np.diff(fit.objective) > -scale).all()
    assert fit.objective[-1] <= fit.log_likelihood + scale


@settings(max_examples=examples(10), deadline=None)
@given(scale=st.sampled_from([1e-3, 0.1, 30.0]), k=st.sampled_from([1, 3, 6]))
def test_a_prior_of_codes_does_not_depend_on_their_unit(scale, k):
    """Codes in another unit have the same density but for the unit's own factor."""
    priors = []
    for unit in (1.0, scale):
        codes = {"train": unit * clusters(300), "validation": unit * clusters(50, seed=1)}
        subject = SimpleNamespace(
            codes=codes.__getitem__,
            learned_codes=codes["train"],
            both=False,
            split="validation",
            seed=0,
            report=lambda _: None,
        )
        priors.append(Subject._fit(subject, (k,), "full", (0.2,))["numbers"])
    for name in ("log_density_of_training_codes", "log_density_of_validation_codes"):
        one, other = (prior[name] for prior in priors)
        assert other == pytest.approx(one - 4 * np.log(scale), abs=0.02)
    variance = float(np.mean(np.var(clusters(300), axis=0)))
    assert priors[1]["regularisation"] == pytest.approx(0.2 * variance * scale**2, rel=1e-3)


def test_fitting_goes_on_while_it_gains_a_thousandth_of_a_nat():
    codes = clusters(400, dim=20, k=8, spread=0.5)
    fit = fit_mixture(codes, 6)
    assert fit.converged
    gains = np.diff(fit.objective)
    assert (gains[:-1] >= 1e-3).all()
    assert gains[-1] < 1e-3


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_dead_constant_and_repeated_units_do_no_harm(covariance):
    codes = clusters(200, dim=6)
    codes[:, 0], codes[:, 1], codes[:, 2] = 0, 0.7, codes[:, 3]
    codes[codes[:, 4] < 0, 4] = 0
    fit = fit_mixture(codes, 7, covariance)
    assert np.isfinite(fit.log_likelihood)
    assert np.isfinite(fit.mixture.log_prob(jnp.asarray(codes))).all()


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_fewer_codes_than_dimensions_or_distinct_codes_than_components(covariance):
    few = clusters(12, dim=20)
    assert np.isfinite(fit_mixture(few, 3, covariance).log_likelihood)
    same = np.repeat(clusters(2), 10, axis=0)
    fit = fit_mixture(same, 5, covariance)
    assert np.isfinite(fit.log_likelihood)
    assert np.isfinite(fit.mixture.log_prob(jnp.asarray(same) + 1)).all()


def test_recovers_a_mixture_it_could_have_been_drawn_from():
    rng = np.random.default_rng(0)
    means = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    covariances = np.array([[[2.0, 1.2], [1.2, 1.0]], [[0.5, 0.0], [0.0, 1.5]], np.eye(2)])
    counts = [6000, 3000, 1000]
    parts = zip(means, covariances, counts, strict=True)
    codes = np.concatenate([rng.multivariate_normal(m, c, n) for m, c, n in parts])
    fit = fit_mixture(codes, 3)
    order = [int(np.argmin(((np.asarray(fit.mixture.means) - m) ** 2).sum(1))) for m in means]
    weights = np.asarray(jax.nn.softmax(fit.mixture.logits))
    np.testing.assert_allclose(weights[order], [0.6, 0.3, 0.1], atol=1e-3)
    np.testing.assert_allclose(np.asarray(fit.mixture.means)[order], means, atol=0.15)
    np.testing.assert_allclose(weighted.covariances(fit.mixture)[order], covariances, atol=0.2)


@pytest.mark.parametrize("spread", [0.3, 1.5])
@pytest.mark.parametrize("penalised", [False, True])
def test_pairs_left_out_of_an_e_step_do_not_count(spread, penalised):
    """Far components and near ones; those that the penalty alone makes near, too."""
    k, dim = 12, 80
    codes = clusters(900, dim, k, spread=spread)
    options = {"regularisation": 0.3, "tolerance": 1e-4, "max_iterations": 100}
    mixture = fit_from(start(900, k), codes, k, **options).mixture
    penalty = np.random.default_rng(1).uniform(0, 100, k) * penalised
    likeliest = np.random.default_rng(2).integers(0, k, 900)
    whole = mixture.component_log_prob(jnp.asarray(codes)) + mixture.logits[None]
    whole = np.asarray(whole, np.float64)
    found = log_joint(mixture, codes, likeliest, penalty)
    left_out = np.isneginf(found)
    assert 0.03 < left_out.mean() < (k - 1) / k
    np.testing.assert_allclose(found[~left_out], whole[~left_out], rtol=1e-5, atol=2e-3)
    for subtracted in (0 * penalty, penalty):
        terms = whole - subtracted[None]
        shares = np.exp(terms - np.max(terms, axis=1, keepdims=True))
        assert shares[left_out].max() < 1.01e-12
        evidence = logsumexp(found - subtracted[None], axis=1)
        np.testing.assert_allclose(evidence, logsumexp(terms, axis=1), rtol=1e-5, atol=2e-3)


def test_one_full_component_has_the_codes_moments():
    codes = clusters() + 50
    mixture = fit_mixture(codes, 1, regularisation=1e-3).mixture
    np.testing.assert_allclose(mixture.means[0], codes.mean(0), rtol=1e-5)
    expected = np.cov(codes.T, bias=True) + 1e-3 * np.eye(4)
    np.testing.assert_allclose(weighted.covariances(mixture)[0], expected, rtol=1e-3, atol=1e-3)


def test_status_says_whether_it_converged():
    codes = clusters()
    done = fit_mixture(codes, 3)
    assert done.converged
    assert done.status == f"Converged after {len(done.objective)} EM steps."
    cut = fit_mixture(codes, 3, max_iterations=1)
    assert not cut.converged
    assert "raise max_iterations" in cut.status
    assert len(cut.objective) == 1


def test_same_seed_same_bits_and_progress():
    codes, seen = clusters(), []
    a = fit_mixture(codes, 10, seed=3)
    b = fit_mixture(codes, 10, seed=3, on_iteration=lambda i, value: seen.append((i, value)))
    np.testing.assert_array_equal(a.mixture.whitening, b.mixture.whitening)
    assert seen == list(enumerate(b.objective, start=1))


@pytest.mark.slow
def test_choice_on_validation():
    codes = clusters(1500, k=3, spread=8)
    best, scores = choose_mixture(codes[:1000], codes[1000:], (1, 3, 60), seed=1)
    assert best.mixture.n_components == 3
    assert max(scores, key=scores.__getitem__) == 3
    with pytest.raises(ConfigError, match="at least one number of components"):
        choose_mixture(codes, codes, ())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariance": "round"}, "Unknown covariance 'round'"),
        ({"n_components": 0}, "n_components must be at least 1; received 0"),
        ({"regularisation": 0.0}, r"regularisation must be above 0; received 0\.0"),
        ({"tolerance": -1.0}, "tolerance must be above 0"),
        ({"max_iterations": 0}, "max_iterations must be at least 1"),
    ],
)
def test_bad_options(options, message):
    with pytest.raises(ConfigError, match=message):
        fit_mixture(clusters(), **{"n_components": 2, **options})


def test_bad_codes():
    with pytest.raises(DataError, match="3 codes are too few for 4 components"):
        fit_mixture(clusters(3), 4)
    codes = clusters()
    codes[0, 0] = np.nan
    with pytest.raises(DataError, match="finite"):
        fit_mixture(codes, 2)


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_a_likelihood_that_is_no_number_ends_em_with_advice(monkeypatch, value):
    monkeypatch.setattr("scipy.special.logsumexp", lambda joint, axis: np.full(len(joint), value))
    message = rf"likelihood became {value}. Increase regularisation=0.02, or scale the codes"
    with pytest.raises(DivergenceError, match=message):
        fit_mixture(clusters(40), 2, "diagonal", seed=0, regularisation=0.02)
