"""Fitting a Gaussian mixture by expectation maximisation (EM), with many codes in mind.

Every covariance is held away from zero by ε (`regularisation`), as in scikit-learn:

    Σ_k = Σ_n r_nk (z_n − μ_k)(z_n − μ_k)^T / Σ_n r_nk + ε I

so silent or constant units do no harm, and neither do components with fewer codes than
dimensions.  That is the exact M step for codes blurred by noise of variance ε, whose
expected log density is log N(z; μ, Σ) − ½ ε tr Σ^{-1}.  The E step uses the same density,
so no iteration lowers the objective

    Σ_n log Σ_k π_k exp[ log N(z_n; μ_k, Σ_k) − ½ ε tr Σ_k^{-1} ]

which is at most the log-likelihood and tends to it as ε → 0.

An E step costs one matrix product for each component.  In many dimensions all but a few
responsibilities of a code are nearly 0, and some of the dimensions suffice to see that.
Pairs of code and component whose responsibility is surely below 1e-12 are left out.  This
makes a step several times cheaper and changes nothing that single precision could show.

Densities are computed in single precision on centred codes, moments in double precision.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gncn.base.errors import ConfigError, DataError, DivergenceError, unknown_choice
from gncn.base.extras import needs
from gncn.evaluation.blocks import blocks, check_positive
from gncn.evaluation.mixture import COVARIANCES, Covariance, Mixture, mixture_from_moments
from gncn.evaluation.protocols import Codes

_MANY = 64
"""From so many dimensions on, full components are searched for each code's likeliest ones."""
_SHARES = (0.15, 0.4)
"""Shares of the dimensions after which components that are too far are left out."""
_BLOCK = 4096
_NO_PART = 1e-12
"""A responsibility below this is taken for 0."""
_CODES_PER_CLUSTER = 200
"""k-means, which only gives a start, sees this many codes for each of its clusters."""
_ROUNDING = 1e-8
"""A smaller gain than this share of the objective may be rounding."""


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


def fit_mixture(
    codes: Codes,
    n_components: int = 65,
    covariance: Covariance | str = "full",
    *,
    seed: int = 0,
    regularisation: float = 1e-4,
    tolerance: float = 1e-4,
    max_iterations: int = 100,
    responsibilities: Float[np.ndarray, "codes components"] | None = None,
    on_iteration: Callable[[int, float], None] | None = None,
) -> MixtureFit:
    """Fit a Gaussian mixture to codes by EM.

    Args:
        codes: the codes, shape (codes, dim).
        n_components: K; the paper's is 65.
        covariance: ``"full"`` or ``"diagonal"``.
        seed: of the k-means clusters to start from.
        regularisation: ε, added to every variance (scikit-learn's default is 1e-6).
        tolerance: stop when an iteration's gain in the mean objective is below this, in
            nats per dimension.
        max_iterations: take at most so many steps.
        responsibilities: to start from instead of clusters.
        on_iteration: called after every step with its number and the mean objective.

    Raises:
        ConfigError: an option is unknown or out of range.
        DataError: codes are not finite, fewer than components, or so large that
            covariances lose positive definiteness to rounding.
        DivergenceError: the likelihood is not finite.
    """
    needs("scipy", "evaluation")
    from scipy.special import logsumexp

    if covariance not in COVARIANCES:
        raise unknown_choice("covariance", covariance, COVARIANCES)
    check_positive(n_components=n_components, max_iterations=max_iterations)
    check_positive(regularisation=regularisation, tolerance=tolerance)
    codes = np.asarray(codes)
    if not np.isfinite(codes).all():
        raise DataError("Codes to fit a mixture to must be finite; some are not.")
    if len(codes) < n_components:
        raise DataError(f"{len(codes)} codes are too few for {n_components} components.")
    centre = np.asarray(np.mean(codes, axis=0, dtype=np.float64))
    centred = np.asarray(codes - centre[None, :], np.float32)
    if responsibilities is None:
        responsibilities = start_responsibilities(centred, n_components, seed)
    moments = pooled(centred, n_components, covariance, regularisation)
    objective: list[float] = []
    while True:
        moments = maximise(centred, responsibilities, moments, covariance, regularisation)
        mixture = mixture_from_moments(*moments, covariance=covariance)
        penalty = 0.5 * regularisation * precision_trace(mixture)
        joint = log_joint(mixture, centred, np.argmax(responsibilities, axis=1), penalty)
        blurred = joint - penalty[None, :]
        evidence = np.asarray(logsumexp(blurred, axis=1))
        responsibilities = np.exp(blurred - evidence[:, None])
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
        if not gained or len(objective) >= max_iterations:
            break
    means = jnp.asarray(moments.means + centre[None, :], jnp.float32)
    return MixtureFit(
        eqx.tree_at(lambda fitted: fitted.means, mixture, means),
        np.asarray(objective),
        float(np.mean(np.asarray(logsumexp(joint, axis=1)))),
        not gained,
    )


def choose_mixture(
    codes: Codes, validation: Codes, n_components: Sequence[int], **options: Any
) -> tuple[MixtureFit, dict[int, float]]:
    """Fit mixtures of several sizes and choose by the density of validation codes.

    Args:
        codes: to fit to.
        validation: to choose on.
        n_components: the sizes K to try.
        options: passed on to `fit_mixture`.

    Returns:
        The best fit, and the mean log density of the validation codes under each size, in nats;
        of one size alone none is computed.

    Raises:
        ConfigError: no size is given; and as `fit_mixture` does.
    """
    if not n_components:
        raise ConfigError("Give at least one number of components; received none.")
    fits = {size: fit_mixture(codes, size, **options) for size in n_components}
    if len(fits) == 1:
        return fits[n_components[0]], {}
    held_out = jnp.asarray(validation, jnp.float32)
    scores = {k: float(jnp.mean(fit.mixture.log_prob(held_out))) for k, fit in fits.items()}
    return fits[max(scores, key=scores.__getitem__)], scores


class Moments(NamedTuple):
    """What the M step estimates: π, μ, and Σ as `mixture_from_moments` takes it."""

    weights: Float[np.ndarray, " components"]
    means: Float[np.ndarray, "components dim"]
    covariances: Float[np.ndarray, "..."]


def start_responsibilities(
    codes: Float[np.ndarray, "codes dim"], n: int, seed: int
) -> Float[np.ndarray, "codes components"]:
    """Responsibilities to begin with: each code belongs to one of `n` k-means clusters."""
    needs("sklearn", "evaluation")
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        # With fewer distinct codes than components some components get no code.
        warnings.simplefilter("ignore", ConvergenceWarning)
        means = KMeans(n, n_init="auto", max_iter=30, random_state=seed)
        seen = np.random.default_rng(seed).permutation(len(codes))
        means.fit(codes[seen[: n * _CODES_PER_CLUSTER]])
    return np.eye(n)[means.predict(codes)]


def log_joint(
    mixture: Mixture,
    codes: Float[np.ndarray, "codes dim"],
    likeliest: Int[np.ndarray, " codes"],
    penalty: Float[np.ndarray, " components"],
) -> Float[np.ndarray, "codes components"]:
    """Terms log π_k N(z_n; μ_k, Σ_k); -inf for pairs that surely don't count.

    Args:
        mixture: K components.
        codes: z_n.
        likeliest: a component for each code, from which the search for better ones begins; the
            nearer to the truth, the less there is to do.
        penalty: what else is taken from the terms of a component: a pair is left out only if its
            share of the sum over k is below 1e-12 with the penalty and without.
    """
    if mixture.covariance == "full" and mixture.dim >= _MANY:
        return _pruned_log_joint(mixture, codes, likeliest, penalty)
    parts = [
        np.asarray(mixture.component_log_prob(jnp.asarray(codes[rows])))[:n]
        for rows, n in blocks(len(codes), _BLOCK)
    ]
    return np.concatenate(parts).astype(np.float64) + np.asarray(mixture.logits)[None, :]


def _pruned_log_joint(
    mixture: Mixture,
    codes: Float[np.ndarray, "codes dim"],
    likeliest: Int[np.ndarray, " codes"],
    penalty: Float[np.ndarray, " components"],
) -> Float[np.ndarray, "codes components"]:
    """See `log_joint`.

    A is lower triangular, so the first entries of A(z − μ) need the first of z alone, and their
    squares bound ‖A(z − μ)‖² from below: enough, most often, to leave a pair out.
    """
    ends = [*(int(share * mixture.dim) for share in _SHARES), mixture.dim]
    means, whitening = np.asarray(mixture.means), np.asarray(mixture.whitening)
    highest = np.asarray(mixture.log_normaliser + mixture.logits, np.float64)
    table = np.full((len(codes), mixture.n_components), -np.inf)

    def start(k: int) -> None:
        own = np.flatnonzero(likeliest == k)
        white = (codes[own] - means[k][None, :]) @ whitening[k].T
        table[own, k] = highest[k] - 0.5 * np.sum(white**2, axis=1)

    def search(k: int) -> None:
        for begin in range(0, len(codes), _BLOCK):
            rows = np.flatnonzero(likeliest[begin : begin + _BLOCK] != k) + begin
            bound = np.full(len(rows), highest[k])
            for done, end in pairwise([0, *ends]):
                deviations = codes[rows, :end] - means[k, None, :end]
                bound -= 0.5 * np.sum((deviations @ whitening[k, done:end, :end].T) ** 2, axis=1)
                counts = (bound >= least[rows]) | (bound - penalty[k] >= least_penalised[rows])
                rows, bound = rows[counts], bound[counts]
            table[rows, k] = bound

    everywhere = range(mixture.n_components)
    _in_parallel(start, everywhere)
    least = table[np.arange(len(codes)), likeliest] + np.log(_NO_PART)
    least_penalised = least - penalty[likeliest]
    _in_parallel(search, everywhere)
    return table


def _in_parallel(function: Callable[[int], None], components: Iterable[int]) -> None:
    """Call a function for each component, one thread each: faster than threads within one."""
    needs("threadpoolctl", "evaluation")
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(os.cpu_count()) as pool:
        for done in [pool.submit(function, k) for k in components]:
            done.result()


def precision_trace(mixture: Mixture) -> Float[np.ndarray, " components"]:
    """Traces tr Σ_k^{-1} = ‖A_k‖²."""
    squares = np.asarray(mixture.whitening) ** 2
    return np.sum(squares, axis=tuple(range(1, squares.ndim)))


def maximise(
    codes: Float[np.ndarray, "codes dim"],
    responsibilities: Float[np.ndarray, "codes components"],
    before: Moments,
    covariance: Covariance,
    regularisation: float,
) -> Moments:
    """The M step.  A component that no code belongs to keeps its place, with weight near 0."""
    dim = codes.shape[1]
    taken = np.where(responsibilities > _NO_PART, responsibilities, 0).astype(np.float64)
    counts = taken.sum(axis=0)
    means, spread = before.means.copy(), before.covariances.copy()

    def component(k: int) -> None:
        members = np.flatnonzero(taken[:, k])
        r, z = taken[members, k], codes[members].astype(np.float64)
        means[k] = r @ z / counts[k]
        deviations = z - means[k][None, :]
        if covariance == "full":
            scatter = (deviations * r[:, None]).T @ deviations
            spread[k] = scatter / counts[k] + regularisation * np.eye(dim)
        else:
            spread[k] = r @ deviations**2 / counts[k] + regularisation

    _in_parallel(component, np.flatnonzero(counts > _NO_PART).tolist())
    tiny = 10 * np.finfo(np.float64).eps
    weights = (counts + tiny) / np.sum(counts + tiny)
    return Moments(weights, means, spread)


def pooled(
    codes: Float[np.ndarray, "codes dim"], n: int, covariance: Covariance, regularisation: float
) -> Moments:
    """Where components start that no code belongs to: the mean and covariance of all codes."""
    dim = codes.shape[1]
    if covariance == "full":
        spread = (codes.T @ codes).astype(np.float64) / len(codes) + regularisation * np.eye(dim)
    else:
        spread = np.asarray(np.mean(codes**2, axis=0, dtype=np.float64)) + regularisation
    return Moments(np.full(n, 1 / n), np.zeros((n, dim)), np.repeat(spread[None], n, axis=0))
