"""The linear probe."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from gncn.base.errors import ConfigError, DataError
from gncn.evaluation.codes import fit_probe


def classes(n=600, k=4, dim=5, seed=0, spread=1.5):
    rng = np.random.default_rng(0)
    means = spread * rng.normal(size=(k, dim)) * np.arange(1, dim + 1)[None]
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, k, n).astype(np.int32)
    codes = means[labels] + rng.normal(size=(n, dim)) * np.arange(1, dim + 1)[None] + 7
    return codes.astype(np.float32), labels


@pytest.mark.parametrize("k", [2, 4])
def test_agrees_with_scikit_learn(k):
    codes, labels = classes(k=k)
    held_out = classes(k=k, seed=1)
    probe = fit_probe(codes, labels, *held_out, regularisation=(0.1,), tolerance=1e-6)
    scaler = StandardScaler().fit(codes)
    theirs = LogisticRegression(C=0.1, tol=1e-6).fit(scaler.transform(codes), labels)
    expected = theirs.predict(scaler.transform(held_out[0]))
    np.testing.assert_array_equal(probe.predict(held_out[0]), expected)
    np.testing.assert_allclose(
        probe.classifier.predict_proba(probe.standardise(held_out[0])),
        theirs.predict_proba(scaler.transform(held_out[0])),
        atol=1e-3,
    )
    assert probe.converged


def test_error_and_confusion():
    codes, labels = classes()
    probe = fit_probe(codes, labels, *classes(seed=1))
    test_codes, test_labels = classes(seed=2)
    score = probe.score(test_codes, test_labels)
    wrong = probe.predict(test_codes) != test_labels
    assert score.error == pytest.approx(100 * wrong.mean())
    assert 0 < score.error < 30
    assert score.confusion.sum() == len(test_labels)
    assert np.trace(score.confusion) == (~wrong).sum()
    np.testing.assert_array_equal(score.confusion.sum(axis=1), np.bincount(test_labels))


def test_regularisation_is_chosen_on_validation():
    rng = np.random.default_rng(3)
    codes, labels = classes(n=40)
    codes = np.concatenate([codes, rng.normal(size=(40, 60))], axis=1).astype(np.float32)
    held_out, held_out_labels = classes(n=400, seed=1)
    held_out = np.concatenate([held_out, rng.normal(size=(400, 60))], axis=1).astype(np.float32)
    seen = []
    probe = fit_probe(
        codes,
        labels,
        held_out,
        held_out_labels,
        regularisation=(10.0, 1e-6, 1e-2),
        on_fit=lambda done, total: seen.append((done, total)),
    )
    assert list(probe.validation_error) == [1e-6, 1e-2, 10.0]
    assert probe.validation_error[probe.regularisation] == min(probe.validation_error.values())
    assert probe.score(held_out, held_out_labels).error == pytest.approx(
        probe.validation_error[probe.regularisation]
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_dead_units_do_no_harm_and_labels_need_not_count_from_zero():
    codes, labels = classes()
    codes[:, 0] = 0.7
    probe = fit_probe(codes, labels + 5, codes, labels + 5)
    assert np.isfinite(probe.classifier.coef_).all()
    np.testing.assert_array_equal(probe.classifier.classes_, [5, 6, 7, 8])


def test_a_test_class_never_seen_counts_as_wrong():
    codes, labels = classes(k=2)
    probe = fit_probe(codes, labels, codes, labels)
    score = probe.score(codes[:3], np.array([9, 9, 9]))
    assert score.error == 100


def test_not_converging_is_told_without_a_warning():
    codes, labels = classes()
    probe = fit_probe(codes, labels, codes, labels, regularisation=(1e4,), max_iterations=1)
    assert not probe.converged


def test_bad_input():
    codes, labels = classes()
    with pytest.raises(ConfigError, match="at least one value of C"):
        fit_probe(codes, labels, codes, labels, regularisation=())
    with pytest.raises(ConfigError, match=r"regularisation must be above 0; received -1\.0"):
        fit_probe(codes, labels, codes, labels, regularisation=(-1.0,))
    with pytest.raises(DataError, match="two classes; all labels are 0"):
        fit_probe(codes, 0 * labels, codes, labels)
    with pytest.raises(DataError, match="finite"):
        fit_probe(codes * np.inf, labels, codes, labels)
