"""A linear probe: multinomial logistic regression on codes (the paper's classifier).

scikit-learn fits it (L-BFGS) to standardised codes.  The error on validation codes chooses
the regularisation C, from strong to weak with warm starts.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from gncn.base.errors import ConfigError, DataError
from gncn.base.extras import needs
from gncn.evaluation.blocks import check_positive
from gncn.evaluation.protocols import Codes

REGULARISATION = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
"""Values of C tried unless the caller says otherwise; less is stronger."""


@dataclass(frozen=True)
class Probe:
    """A fitted linear classifier: class scores are ``weights @ code + bias``.

    Attributes:
        weights: for codes as they come; the standardisation is folded in.
        bias: for codes as they come.
        classes: the label that each row of `weights` stands for.
        regularisation: C, the inverse of the penalty's strength.
        validation_error: error in % on the validation codes for every C tried.
        converged: whether the chosen fit reached its tolerance.
    """

    weights: Float[np.ndarray, "classes dim"]
    bias: Float[np.ndarray, " classes"]
    classes: Int[np.ndarray, " classes"]
    regularisation: float
    validation_error: dict[float, float]
    converged: bool

    def predict(self, codes: Codes) -> Int[np.ndarray, " codes"]:
        """The likeliest label of each code."""
        scores = np.asarray(codes, np.float64) @ self.weights.T + self.bias[None, :]
        return self.classes[np.argmax(scores, axis=1)]

    def score(self, codes: Codes, labels: Int[np.ndarray, " codes"]) -> "ProbeScore":
        """Compare predictions with labels."""
        from sklearn.metrics import confusion_matrix

        predicted = self.predict(codes)
        classes = np.union1d(self.classes, labels)
        confusion = confusion_matrix(labels, predicted, labels=classes)
        return ProbeScore(100 * float(np.mean(predicted != labels)), confusion)


class ProbeScore(NamedTuple):
    """The share of wrong labels in %, and how many codes of each class (row) got each label."""

    error: float
    confusion: Int[np.ndarray, "classes classes"]


def fit_probe(
    codes: Codes,
    labels: Int[np.ndarray, " codes"],
    validation_codes: Float[np.ndarray, "held_out dim"],
    validation_labels: Int[np.ndarray, " held_out"],
    *,
    regularisation: Sequence[float] = REGULARISATION,
    tolerance: float = 1e-4,
    max_iterations: int = 100,
    on_fit: Callable[[int, int], None] | None = None,
) -> Probe:
    """Fit multinomial logistic regression, its regularisation chosen on validation codes.

    Of several values of C with the lowest validation error the strongest is taken.

    Args:
        codes: to learn from.
        labels: their classes, at least two.
        validation_codes: to choose C on.
        validation_labels: their classes.
        regularisation: values of C to try.
        tolerance: stop L-BFGS when no entry of the gradient exceeds this.
        max_iterations: stop it then in any case; `Probe.converged` tells.
        on_fit: called with the number of fits done and of all.

    Raises:
        ConfigError: no C is given, or a number is not positive.
        DataError: codes and labels differ in number, codes are not finite, or there is
            only one class.
    """
    needs("sklearn", "evaluation")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    grid = sorted(set(regularisation))
    if not grid:
        raise ConfigError("Give at least one value of C in `regularisation`; received none.")
    check_positive(regularisation=grid[0], tolerance=tolerance, max_iterations=max_iterations)
    if not (np.isfinite(codes).all() and np.isfinite(validation_codes).all()):
        raise DataError("Codes to probe must be finite; some are not.")
    if len(np.unique(labels)) < 2:
        raise DataError(f"A probe needs at least two classes; all labels are {labels[0]}.")
    scaler = StandardScaler().fit(np.asarray(codes, np.float64))
    # Standardised in double precision, fitted in single: the same classifier in half the time.
    inputs, held_out = (
        np.asarray(scaler.transform(np.asarray(one, np.float64)), np.float32)
        for one in (codes, validation_codes)
    )
    fit = LogisticRegression(tol=tolerance, max_iter=max_iterations, warm_start=True)
    errors: dict[float, float] = {}
    best = None
    for number, strength in enumerate(grid, start=1):
        fit.set_params(C=strength)
        with warnings.catch_warnings():
            # Its warning is returned as `converged`.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit.fit(inputs, labels)
        errors[strength] = 100 * float(np.mean(fit.predict(held_out) != validation_labels))
        if best is None or errors[strength] < errors[best[0]]:
            converged = bool(np.all(fit.n_iter_ < max_iterations))
            best = strength, np.array(fit.coef_), np.array(fit.intercept_), converged
        if on_fit is not None:
            on_fit(number, len(grid))
    assert best is not None
    chosen, weights, bias, converged = best
    if len(weights) == 1:
        # Of two classes scikit-learn keeps the second's scores alone.
        weights, bias = np.concatenate([-weights, weights]) / 2, np.concatenate([-bias, bias]) / 2
    weights = weights / np.asarray(scaler.scale_)[None, :]
    bias = bias - weights @ np.asarray(scaler.mean_)
    return Probe(weights, bias, np.asarray(fit.classes_), chosen, errors, converged)
