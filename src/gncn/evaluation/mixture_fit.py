"""Fitting a Gaussian mixture by expectation maximisation (EM), with many codes in mind.

Every covariance is held away from zero by ε (`regularisation`), as in scikit-learn:

    Σ_k = Σ_n r_nk (z_n − μ_k)(z_n − μ_k)^T / Σ_n r_nk + ε I

so that units which are silent or constant, or components with fewer codes than
dimensions, do no harm.  That is the exact M step for codes blurred by noise of variance
ε, whose expected log density is log N(z; μ, Σ) − ½ ε tr Σ^{-1}.  The E step uses the
same, so each iteration raises (never lowers) the one objective

    Σ_n log Σ_k π_k exp[ log N(z_n; μ_k, Σ_k) − ½ ε tr Σ_k^{-1} ]

which is at most the log-likelihood and tends to it as ε → 0.

A full E step costs one matrix product for each component.  In many dimensions all but a
few responsibilities of a code are nearly 0, so between full E steps each code visits only
those components that were its likeliest at the last one, and any above 1e-12, in a small
fraction of the time.  These truncated steps raise a bound on the objective (a sum over
fewer components), so the objective still never falls.  The fit has converged when a full
E step finds no gain.

Densities are computed in single precision on centred codes, moments in double precision.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, NamedTuple, get_args

import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float
from scipy.special import logsumexp
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from gncn.errors import ConfigError, DataError, DivergenceError, unknown_choice
from gncn.evaluation.blocks import blocks, check_positive
from gncn.evaluation.mixture import COVARIANCES, Covariance, Mixture, mixture_from_moments
from gncn.evaluation.protocols import Codes

Start = Literal["k_means", "random"]

_BLOCK = 4096
_NO_PART = 1e-12
"""A responsibility below this is taken for 0."""
_CANDIDATES = 8
"""Likeliest components of each code that truncated steps visit."""
_TRUNCATED_STEPS = 10
"""The most truncated iterations between two full E steps."""
_ROUNDING = 1e-8
"""A gain of less than this share of the objective can't be told from rounding."""
_CODES_PER_CLUSTER = 200
"""k-means, which only gives a start, sees this many codes for each of its clusters."""


class MixtureFit(NamedTuple):
    """A fitted mixture and how the fit went.

    Attributes:
        mixture: the mixture.
        objective: mean objective per code after each step, in nats; never falls.
        log_likelihood: mean log density of the codes under the mixture, in nats.
        converged: whether the objective's last gain was below the tolerance.
    """

    mixture: Mixture
    objective: Float[np.ndarray, " iterations"]
    log_likelihood: float
    converged: bool

    @property
    def status(self) -> str:
        """What to tell the user: converged, or what to do about it."""
        steps = len(self.objective)
        if self.converged:
            return f"Converged after {steps} EM steps."
        return (
            f"Stopped after {steps} EM steps without converging; raise max_iterations, or the "
            "tolerance."
        )


class _Moments(NamedTuple):
    weights: Float[np.ndarray, " components"]
    means: Float[np.ndarray, "components dim"]
    covariances: Float[np.ndarray, "..."]


def fit_mixture(
    codes: Codes,
    n_components: int = 65,
    covariance: Covariance | str = "full",
    *,
    seed: int = 0,
    start: Start | str | Float[np.ndarray, "..."] = "k_means",
    regularisation: float = 1e-4,
    tolerance: float = 1e-4,
    max_iterations: int = 100,
    on_iteration: Callable[[int, float], None] | None = None,
) -> MixtureFit:
    """Fit a Gaussian mixture to codes by EM.

    Args:
        codes: the codes, shape (codes, dim).
        n_components: K; the paper's is 65.
        covariance: one of ``"full"``, ``"tied"``, ``"diagonal"``, ``"spherical"``.
        seed: of the start.
        start: responsibilities to begin with: from ``"k_means"`` clusters, at
            ``"random"``, or given, shape (codes, components).
        regularisation: ε, added to every variance (scikit-learn's default is 1e-6).
        tolerance: stop when an iteration's gain in the mean objective is below this, in
            nats per dimension.
        max_iterations: take at most one step more than this.
        on_iteration: called after every step with its number and the mean objective.

    Returns:
        The mixture and how the fit went; look at `status`.

    Raises:
        ConfigError: an option is unknown or out of range.
        DataError: codes are not finite, or fewer than components.
        DivergenceError: covariances lost positive definiteness to rounding.
    """
    if covariance not in COVARIANCES:
        raise unknown_choice("covariance", covariance, COVARIANCES)
    check_positive(n_components=n_components, max_iterations=max_iterations)
    check_positive(regularisation=regularisation, tolerance=tolerance)
    if not np.isfinite(codes).all():
        raise DataError("Codes to fit a mixture to must be finite; some are not.")
    if len(codes) < n_components:
        raise DataError(f"{len(codes)} codes are too few for {n_components} components.")

    centre = np.asarray(np.mean(codes, axis=0, dtype=np.float64))
    centred = np.asarray(codes - centre[None, :], np.float32)
    responsibilities = _start(centred, n_components, start, seed)
    moments = _pooled(centred, n_components, covariance, regularisation)
    objective: list[float] = []
    members, n_truncated = None, 0
    while True:
        moments = _maximise(centred, responsibilities, moments, covariance, regularisation)
        mixture = mixture_from_moments(*moments, covariance=covariance)
        joint = _log_joint(mixture, centred, members)
        blurred = joint - 0.5 * regularisation * _precision_trace(mixture)[None, :]
        evidence = np.asarray(logsumexp(blurred, axis=1))
        log_responsibilities = blurred - evidence[:, None]
        responsibilities = np.exp(log_responsibilities)
        objective.append(float(np.mean(evidence)))
        if not np.isfinite(objective[-1]):
            raise DivergenceError(
                f"The mixture's likelihood became {objective[-1]}. Increase regularisation="
                f"{regularisation}, or scale the codes."
            )
        if on_iteration is not None:
            on_iteration(len(objective), objective[-1])
        least = max(tolerance * len(centre), _ROUNDING * abs(objective[-1]))
        gained = len(objective) == 1 or objective[-1] - objective[-2] >= least
        enough = not gained or len(objective) >= max_iterations
        if members is None:
            if enough:
                break
            if n_components > _CANDIDATES:
                members, n_truncated = _candidates(log_responsibilities), 0
        elif enough or n_truncated == _TRUNCATED_STEPS:
            members = None
        else:
            n_truncated += 1
    shifted = moments._replace(means=moments.means + centre[None, :])
    return MixtureFit(
        mixture_from_moments(*shifted, covariance=covariance),
        np.asarray(objective),
        float(np.mean(np.asarray(logsumexp(joint, axis=1)))),
        not gained,
    )


class MixtureChoice(NamedTuple):
    """Mixtures of several sizes, compared on codes held out.

    Attributes:
        best: the fit with the highest validation score.
        n_components: the sizes tried.
        validation: mean log density of the validation codes under each, in nats.
    """

    best: MixtureFit
    n_components: tuple[int, ...]
    validation: Float[np.ndarray, " sizes"]


def choose_mixture(
    codes: Codes, validation: Codes, n_components: Sequence[int], **options: object
) -> MixtureChoice:
    """Fit mixtures of several sizes and choose by the density of validation codes.

    Args:
        codes: to fit to.
        validation: to choose on.
        n_components: the sizes K to try.
        options: passed on to `fit_mixture`.

    Returns:
        The best fit, and every size's score.

    Raises:
        ConfigError: no size is given; and as `fit_mixture` does.
    """
    if not n_components:
        raise ConfigError("Give at least one number of components; received none.")
    held_out = jnp.asarray(validation, jnp.float32)
    best, scores = None, []
    for size in n_components:
        fit = fit_mixture(codes, size, **options)  # pyright: ignore[reportArgumentType]
        scores.append(float(jnp.mean(fit.mixture.log_prob(held_out))))
        if best is None or scores[-1] > max(scores[:-1]):
            best = fit
    assert best is not None
    return MixtureChoice(best, tuple(n_components), np.asarray(scores))


def _start(
    codes: Float[np.ndarray, "codes dim"],
    n: int,
    start: str | Float[np.ndarray, "..."],
    seed: int,
) -> Float[np.ndarray, "codes components"]:
    if isinstance(start, np.ndarray):
        if start.shape != (len(codes), n) or not (start >= 0).all():
            raise ConfigError(
                f"Responsibilities to start from must be at least 0 and of shape "
                f"{(len(codes), n)}; received shape {start.shape}."
            )
        return start / np.sum(start, axis=1, keepdims=True)
    match start:
        case "random":
            drawn = np.random.default_rng(seed).uniform(size=(len(codes), n))
            return drawn / drawn.sum(axis=1, keepdims=True)
        case "k_means":
            with warnings.catch_warnings():
                # Fewer distinct codes than components: those left over get none.
                warnings.simplefilter("ignore", ConvergenceWarning)
                means = KMeans(n, n_init="auto", max_iter=30, random_state=seed)
                seen = np.random.default_rng(seed).permutation(len(codes))
                means.fit(codes[seen[: n * _CODES_PER_CLUSTER]])
            return np.eye(n)[means.predict(codes)]
        case _:
            raise unknown_choice("start", start, (*get_args(Start), "an array"))


def _log_joint(
    mixture: Mixture,
    codes: Float[np.ndarray, "codes dim"],
    members: Bool[np.ndarray, "codes components"] | None,
) -> Float[np.ndarray, "codes components"]:
    """Terms log π_k N(z_n; μ_k, Σ_k), of all pairs or of members only; -inf for the others."""
    if members is None:
        parts = [
            np.asarray(mixture.component_log_prob(jnp.asarray(codes[rows])))[:n]
            for rows, n in blocks(len(codes), _BLOCK)
        ]
        table = np.concatenate(parts).astype(np.float64)
    else:
        table = np.full((len(codes), mixture.n_components), -np.inf)
        means, whitening = np.asarray(mixture.means), np.asarray(mixture.whitening)
        constant = np.asarray(mixture.log_normaliser)

        def component(k: int) -> None:
            chosen = np.flatnonzero(members[:, k])
            factor = whitening if mixture.covariance == "tied" else whitening[k]
            white = codes[chosen] - means[k][None, :]
            white = white @ factor.T if factor.ndim == 2 else white * factor
            table[chosen, k] = constant[k] - 0.5 * np.sum(white**2, axis=1)

        _in_parallel(component, range(mixture.n_components))
    return table + np.asarray(mixture.logits)[None, :]


def _in_parallel(function: Callable[[int], None], components: Iterable[int]) -> None:
    """Call a function for each component, one thread each, which is better than within."""
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(function, k) for k in components]:
            done.result()


def _candidates(
    log_responsibilities: Float[np.ndarray, "codes components"],
) -> Bool[np.ndarray, "codes components"]:
    """The pairs of code and component that truncated steps visit."""
    likeliest = np.argpartition(log_responsibilities, -_CANDIDATES, axis=1)[:, -_CANDIDATES:]
    chosen = log_responsibilities > np.log(_NO_PART)
    np.put_along_axis(chosen, likeliest, True, axis=1)
    return chosen


def _precision_trace(mixture: Mixture) -> Float[np.ndarray, " components"]:
    """Traces tr Σ_k^{-1} = ‖A_k‖²."""
    squares = np.asarray(mixture.whitening) ** 2
    match mixture.covariance:
        case "full":
            return np.sum(squares, axis=(1, 2))
        case "tied":
            return np.full(mixture.n_components, np.sum(squares))
        case "diagonal":
            return np.sum(squares, axis=1)
        case "spherical":
            return mixture.dim * squares


def _maximise(
    codes: Float[np.ndarray, "codes dim"],
    responsibilities: Float[np.ndarray, "codes components"],
    before: _Moments,
    covariance: Covariance,
    regularisation: float,
) -> _Moments:
    """The M step.  A component that no code belongs to keeps its place, with weight near 0."""
    n, dim = codes.shape
    taken = np.where(responsibilities > _NO_PART, responsibilities, 0).astype(np.float64)
    counts = taken.sum(axis=0)
    means, shares = before.means.copy(), {}
    spread = before.covariances.copy() if covariance != "tied" else np.zeros((dim, dim))

    def component(k: int) -> None:
        members = np.flatnonzero(taken[:, k])
        r, z = taken[members, k], codes[members].astype(np.float64)
        means[k] = r @ z / counts[k]
        deviations = z - means[k][None, :]
        match covariance:
            case "full":
                scatter = (deviations * r[:, None]).T @ deviations
                spread[k] = scatter / counts[k] + regularisation * np.eye(dim)
            case "tied":
                shares[k] = (deviations * r[:, None]).T @ deviations / n
            case "diagonal":
                spread[k] = r @ deviations**2 / counts[k] + regularisation
            case "spherical":
                spread[k] = r @ np.mean(deviations**2, axis=1) / counts[k] + regularisation

    _in_parallel(component, np.flatnonzero(counts > _NO_PART).tolist())
    if covariance == "tied":
        spread += sum(shares[k] for k in sorted(shares)) + regularisation * np.eye(dim)
    tiny = 10 * np.finfo(np.float64).eps
    weights = (counts + tiny) / np.sum(counts + tiny)
    return _Moments(weights, means, spread)


def _pooled(
    codes: Float[np.ndarray, "codes dim"], n: int, covariance: Covariance, regularisation: float
) -> _Moments:
    """Where components start that no code belongs to: the mean and covariance of all codes."""
    dim = codes.shape[1]
    variances = np.asarray(np.mean(codes**2, axis=0, dtype=np.float64)) + regularisation
    whole = (codes.T @ codes).astype(np.float64) / len(codes) + regularisation * np.eye(dim)
    spread = {
        "full": np.repeat(whole[None], n, axis=0),
        "tied": whole,
        "diagonal": np.repeat(variances[None], n, axis=0),
        "spherical": np.full(n, np.mean(variances)),
    }
    return _Moments(np.full(n, 1 / n), np.zeros((n, dim)), spread[covariance])
