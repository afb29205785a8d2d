"""Codes: the labels that a linear classifier reads from them, their sparsity, and a picture.

The probe is multinomial logistic regression (the paper's classifier).  scikit-learn fits it
(L-BFGS) to standardised codes.  The error on validation codes chooses the regularisation C,
from strong to weak with warm starts.

Sparsity of one image's states z of J units, a = |z|:

- active: share of units with z > 1e-6 (the paper's ρ; low is sparse);
- Hoyer (2004): (√J − Σa / √Σa²) / (√J − 1), 0 if all are equal, 1 if one alone is active;
- Gini (Hurley & Rickard 2009): 1 − 2 Σ_j a_(j)/Σa · (J − j + ½)/J, a ascending; 0 if all
  are equal, 1 − 1/J if one alone is active.

A state of zeros has neither Hoyer's nor Gini's measure; here it counts as sparsest, with
Hoyer 1 and Gini 1 − 1/J.  The picture is by t-SNE (van der Maaten & Hinton 2008).
"""

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gncn.base.errors import ConfigError, DataError, check_counts, check_positive, check_seed
from gncn.base.extras import needs
from gncn.evaluation.protocols import Codes
from gncn.training.epochs import ACTIVE

_N_POINTS = 3000


@dataclass(frozen=True)
class Probe:
    """A fitted linear classifier: scikit-learn's `LogisticRegression` of standardised codes.

    `validation_error` is in % for every C tried; `converged` if the chosen fit reached its
    tolerance.
    """

    classifier: Any
    standardise: Callable[[Codes], Float[np.ndarray, "_ dim"]]
    validation_error: dict[float, float]
    converged: bool

    @property
    def regularisation(self) -> float:
        """C, the inverse of the penalty's strength."""
        return self.classifier.C

    def predict(self, codes: Codes) -> Int[np.ndarray, " codes"]:
        """The likeliest label of each code."""
        return self.classifier.predict(self.standardise(codes))

    def score(self, codes: Codes, labels: Int[np.ndarray, " codes"]) -> "ProbeScore":
        """Compare predictions with labels."""
        from sklearn.metrics import confusion_matrix

        predicted = self.predict(codes)
        classes = np.union1d(self.classifier.classes_, labels)
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
    regularisation: Sequence[float] = (1e-3, 1e-2, 1e-1, 1.0, 10.0),
    tolerance: float = 1e-4,
    max_iterations: int = 100,
    on_fit: Callable[[int, int], None] | None = None,
) -> Probe:
    """Fit multinomial logistic regression, its regularisation chosen on validation codes.

    Of the values of C in `regularisation` with the lowest validation error the strongest is taken.
    L-BFGS stops when no entry of the gradient exceeds the tolerance, or after `max_iterations`.
    `on_fit` receives the number of fits done and of all.

    Raises:
        ConfigError: no C is given, or a number is not positive.
        DataError: codes and labels differ in number, codes are not finite, or there is
            only one class.
    """
    needs("sklearn", "evaluation")
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    if not isinstance(regularisation, Sequence) or not len(regularisation):
        raise ConfigError(
            f"Give at least one value of C in `regularisation`; received {regularisation!r}."
        )
    for one in regularisation:
        check_positive(regularisation=one)
    # From strong to weak: each fit starts at the one before, which is nearly right.
    grid = sorted(set(regularisation))
    check_positive(tolerance=tolerance)
    check_counts(max_iterations=max_iterations)
    if not (np.isfinite(codes).all() and np.isfinite(validation_codes).all()):
        raise DataError("Codes to probe must be finite; some are not.")
    if len(np.unique(labels)) < 2:
        raise DataError(f"A probe needs at least two classes; all labels are {labels[0]}.")
    # Scaled by the codes that it learns from alone: held-out codes must not leak in.
    scaler = StandardScaler().fit(np.asarray(codes, np.float64))

    def standardise(codes: Codes) -> Float[np.ndarray, "_ dim"]:
        # In double precision, and fitted in single: the same classifier in half the time.
        return np.asarray(scaler.transform(np.asarray(codes, np.float64)), np.float32)

    inputs, held_out = standardise(codes), standardise(validation_codes)
    fit = LogisticRegression(tol=tolerance, max_iter=max_iterations, warm_start=True)
    best, converged, errors = fit, False, {}
    for number, strength in enumerate(grid, start=1):
        fit.set_params(C=strength)
        with warnings.catch_warnings():
            # Its warning is returned as `converged`.
            warnings.simplefilter("ignore", ConvergenceWarning)
            fit.fit(inputs, labels)
        errors[strength] = 100 * float(np.mean(fit.predict(held_out) != validation_labels))
        # Strictly less, so that the strongest regularisation wins a tie.
        if errors[strength] < min(list(errors.values())[:-1], default=np.inf):
            # A copy, since the next fit starts from the same object and changes it.
            best, converged = copy.deepcopy(fit), bool(np.all(fit.n_iter_ < max_iterations))
        if on_fit is not None:
            on_fit(number, len(grid))
    return Probe(best, standardise, errors, converged)


class Sparsity(NamedTuple):
    """Sparsity of one layer, averaged over images.

    `active` is the share of active units, the paper's ρ; `silent` the share of units that no
    image activates.  Hoyer's and Gini's measures are greatest where activity is sparsest.
    """

    active: float
    hoyer: float
    gini: float
    silent: float


def sparsity(states: Float[Array | np.ndarray, "images units"]) -> Sparsity:
    """Sparsity of a layer's states."""
    states = jnp.asarray(states)
    active = states > ACTIVE
    return Sparsity(
        float(jnp.mean(active)),
        float(jnp.mean(hoyer(states))),
        float(jnp.mean(gini(states))),
        float(jnp.mean(~jnp.any(active, axis=0))),
    )


def hoyer(states: Float[Array, "images units"]) -> Float[Array, " images"]:
    """Hoyer's measure of each image's states; of a single unit, which can't be denser, 1."""
    if states.shape[1] == 1:
        return jnp.ones(len(states))
    # Σa / √Σa² is √J if all values are equal, and 1 if one alone is not 0.
    root = jnp.sqrt(states.shape[1])
    length = jnp.sqrt(jnp.sum(states**2, axis=1))
    ratio = jnp.sum(jnp.abs(states), axis=1) / jnp.where(length > 0, length, 1)
    return jnp.where(length > 0, (root - ratio) / (root - 1), 1)


def gini(states: Float[Array, "images units"]) -> Float[Array, " images"]:
    """Gini's measure of each image's states."""
    n = states.shape[1]
    ascending = jnp.sort(jnp.abs(states), axis=1)
    total = jnp.sum(ascending, axis=1)
    rank = (n - jnp.arange(1, n + 1) + 0.5) / n
    weighted = jnp.sum(ascending * rank[None, :], axis=1) / jnp.where(total > 0, total, 1)
    return jnp.where(total > 0, 1 - 2 * weighted, 1 - 1 / n)


class Embedding(NamedTuple):
    """Which rows of the codes were chosen, ascending, and where they are in the plane."""

    indices: Int[np.ndarray, " points"]
    positions: Float[np.ndarray, "points 2"]


def embed(codes: Codes, *, perplexity: float = 30.0, seed: int = 0) -> Embedding:
    """Lay out codes in the plane by t-SNE, so that neighbours stay neighbours.

    Distances between clusters and their sizes mean little.  Codes that only differ by rounding,
    such as a collapsed encoder's, are all at the origin.

    Of more than 3000 codes so many are chosen at random.  `perplexity` says about how many
    neighbours count, and is below the number of points.

    Raises:
        ConfigError: a number is not positive, or perplexity is too large.
    """
    needs("sklearn", "evaluation")
    from sklearn.manifold import TSNE

    check_positive(perplexity=perplexity)
    check_seed(seed)
    n = min(_N_POINTS, len(codes))
    if perplexity >= n:
        raise ConfigError(f"perplexity must be below the {n} points drawn; received {perplexity}.")
    # Sorted, so that the points keep the order of the images.
    indices = np.sort(np.random.default_rng(seed).permutation(len(codes))[:n])
    chosen = np.asarray(codes, np.float32)[indices]
    spread = np.max(np.ptp(chosen, axis=0))
    if spread <= 4 * np.finfo(np.float32).eps * np.max(np.abs(chosen)):
        return Embedding(indices, np.zeros((n, 2), np.float32))
    # In units of their spread, because scikit-learn crashes where single precision underflows.
    layout = TSNE(perplexity=perplexity, init="pca", random_state=seed)
    return Embedding(indices, np.asarray(layout.fit_transform(chosen / spread)))
