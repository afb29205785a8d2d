"""scikit-learn's own checks of the estimators, on the smallest models."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

import gncn

TRAINED = {"n_epochs": 1, "batch_size": 64}
PRIOR = {"n_samples": 20, "n_components": 1}
CODER = {"budget": 300, "n_latent": 2, **TRAINED, **PRIOR}
SMALL = {
    "GNCN": {"sizes": (4,), "group_size": 2, "n_settle_steps": 2, **TRAINED, **PRIOR},
    "RAE": CODER,
    "GVAE": CODER,
    "GVAECV": CODER,
    "GANAE": CODER,
    "PixelMixture": {"n_components": 1, "max_iterations": 1, "n_samples": 20},
    "DSRN": {"budget": 300, **TRAINED},
}
ESTIMATORS = [getattr(gncn, name)(**options) for name, options in SMALL.items()]


@pytest.mark.slow
@parametrize_with_checks(ESTIMATORS)
def test_estimators_pass_the_checks(estimator, check):
    check(estimator)
