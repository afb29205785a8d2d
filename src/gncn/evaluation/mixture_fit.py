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

import warnings
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gncn.base.errors import (
    ConfigError,
    DataError,
    DivergenceError,
    check_counts,
    check_positive,
    check_seed,
    unknown_choice,
)
from gncn.base.extras import needs
from gncn.base.hardware import refuse_too_large, usable_cores
from gncn.base.interrupts import check
from gncn.evaluation.images import blocks
from gncn.evaluation.mixture import COVARIANCES, Covariance, Mixture, mixture_from_moments
from gncn.evaluation.protocols import Codes

_SHARES = (0.15, 0.4)  # of the dimensions, after which components that are too far are left out
_MANY = 64  # dimensions from which on a search for each code's likeliest components pays
_BLOCK = 4096
_NO_PART = 1e-12  # a responsibility below this is taken for 0
_CODES_PER_CLUSTER = 200  # that k-means sees, which only gives a start
_ROUNDING = 1e-8  # a smaller gain than this share of the objective may be rounding


class MixtureFit(NamedTuple):
    """A fitted mixture and how the fit went.

    `objective` is the mean objective per code after each step, which never falls, and
    `log_likelihood` the mean log density of the codes, both in nats.  The fit `converged` if the
    last gain was below the tolerance.
    """

    mixture: Mixture
    objective: Float[np.ndarray, " iterations"]
    log_likelihood: float
    converged: bool

    @property
    def status(self) -> str:
        """A sentence for the user: the fit converged, or what to do about it."""
        after = f"after {len(self.objective)} EM steps"
        if self.converged:
            return f"Converged {after}."
        return f"Stopped {after} without converging; raise max_iterations, or the tolerance."


def fit_mixture(
    codes: Codes,
    n_components: int = 65,
    covariance: Covariance | str = "full",
    *,
    seed: int = 0,
    regularisation: float = 1e-4,
    tolerance: float = 1e-3,
    max_iterations: int = 100,
    on_iteration: Callable[[int, float], None] | None = None,
) -> MixtureFit:
    """Fit a Gaussian mixture to codes by EM.

    Args:
        codes: z_n.
        n_components: K; the paper's is 65.
        covariance: the kind of Σ_k.
        seed: of the k-means clusters to start from.
        regularisation: ε, added to every variance (scikit-learn's default is 1e-6).
        tolerance: stop when an iteration's gain in the mean objective is below this, in nats.
        max_iterations: take at most so many steps.
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
    check_counts(n_components=n_components, max_iterations=max_iterations)
    check_seed(seed)
    check_positive(regularisation=regularisation, tolerance=tolerance)
    codes = np.asarray(codes)
    if not np.isfinite(codes).all():
        raise DataError("Codes to fit a mixture to must be finite; some are not.")
    if len(codes) < n_components:
        raise DataError(f"{len(codes)} codes are too few for {n_components} components.")
    centre = np.asarray(np.mean(codes, axis=0, dtype=np.float64))
    # Single precision is enough once the mean is gone.
    centred = np.asarray(codes - centre[None, :], np.float32)
    responsibilities = start_responsibilities(centred, n_components, seed)
    dim = len(centre)
    refuse_too_large(
        f"{n_components:,} components of {dim:,} dimensions",
        8 * n_components * dim * (dim if covariance == "full" else 1),
        "Ask for fewer, or for covariance='diagonal'.",
    )
    # Written in place by the M step, so that no iteration takes memory for new covariances.
    means = np.zeros((n_components, dim))
    covariances = np.zeros((n_components, dim, dim) if covariance == "full" else means.shape)
    objective: list[float] = []
    while True:
        check()
        weights = _maximise(centred, responsibilities, means, covariances, regularisation)
        mixture = mixture_from_moments(weights, means, covariances)
        # ½ ε tr Σ⁻¹, since Σ⁻¹ = A^T A and tr A^T A is the sum of squares.
        squares = np.asarray(mixture.whitening).reshape(n_components, -1) ** 2
        penalty = 0.5 * regularisation * np.sum(squares, axis=1)
        # The likeliest of the last step: most codes stay with their component.
        likeliest = np.argmax(responsibilities, axis=1)
        joint = log_joint(mixture, centred, likeliest, penalty)
        blurred = joint - penalty[None, :]
        evidence = np.asarray(logsumexp(blurred, axis=1))
        # Responsibilities from the same blurred density, so that no step lowers the objective.
        responsibilities = np.exp(blurred - evidence[:, None])
        objective.append(float(np.mean(evidence)))
        if not np.isfinite(objective[-1]):
            raise DivergenceError(
                f"The mixture's likelihood became {objective[-1]}. Increase regularisation="
                f"{regularisation}, or scale the codes."
            )
        if on_iteration is not None:
            on_iteration(len(objective), objective[-1])
        # Below that, single precision can't tell a gain from rounding.
        least = max(tolerance, _ROUNDING * abs(objective[-1]))
        gained = len(objective) == 1 or objective[-1] - objective[-2] >= least
        if not gained or len(objective) >= max_iterations:
            break
    # Fitted to centred codes, so the means move back.
    where = jnp.asarray(means + centre[None, :], jnp.float32)
    return MixtureFit(
        eqx.tree_at(lambda fitted: fitted.means, mixture, where),
        np.asarray(objective),
        float(np.mean(np.asarray(logsumexp(joint, axis=1)))),
        not gained,
    )


def choose_mixture(
    codes: Codes, validation: Codes, n_components: Sequence[int], **options: Any
) -> tuple[MixtureFit, dict[int, float]]:
    """Fit mixtures of several sizes K and choose by the density of validation codes.

    `options` are passed on to `fit_mixture`.

    Returns:
        The best fit, and the mean log density of the validation codes under each size, in nats;
        of one size alone none is computed.

    Raises:
        ConfigError: no size is given; and as `fit_mixture` does.
    """
    if not isinstance(n_components, Sequence) or not n_components:
        raise ConfigError(f"Give at least one number of components; received {n_components!r}.")
    fits = {size: fit_mixture(codes, size, **options) for size in n_components}
    if len(fits) == 1:
        return fits[n_components[0]], {}
    held_out = jnp.asarray(validation, jnp.float32)
    scores = {k: float(jnp.mean(fit.mixture.log_prob(held_out))) for k, fit in fits.items()}
    return fits[max(scores, key=scores.__getitem__)], scores


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
        # A random part of the codes, since k-means only gives a start.
        seen = np.random.default_rng(seed).permutation(len(codes))
        means.fit(codes[seen[: n * _CODES_PER_CLUSTER]])
    # Hard assignments; the first M step makes covariances of them.
    found = np.eye(n)[means.predict(codes)]
    # These start with the mean and covariance of all codes.
    found[:, ~found.any(axis=0)] = 10 * _NO_PART
    return found


def log_joint(
    mixture: Mixture,
    codes: Float[np.ndarray, "codes dim"],
    likeliest: Int[np.ndarray, " codes"],
    penalty: Float[np.ndarray, " components"],
) -> Float[np.ndarray, "codes components"]:
    """Terms log π_k N(z_n; μ_k, Σ_k); -inf for pairs that surely don't count.

    A is lower triangular, so the first entries of A(z − μ) need only the first entries of z.  Their
    squares bound ‖A(z − μ)‖² from below, which is mostly enough to leave a pair out.

    The search begins from each code's `likeliest` component, as far as it is known.  The nearer to
    the truth it is, the less there is to do.  A pair is left out only if its share of the sum
    over k is below 1e-12, both with a component's `penalty` subtracted and without.
    """
    if mixture.covariance == "diagonal" or mixture.dim < _MANY:
        parts = [
            np.asarray(mixture.component_log_prob(jnp.asarray(codes[rows])))[:n]
            for rows, n in blocks(len(codes), _BLOCK)
        ]
        return np.concatenate(parts).astype(np.float64) + np.asarray(mixture.logits)[None, :]
    dim, components = mixture.dim, range(mixture.n_components)
    ends = [*(int(share * dim) for share in _SHARES), dim]
    means, whitening = np.asarray(mixture.means), np.asarray(mixture.whitening)
    highest = np.asarray(mixture.log_normaliser + mixture.logits, np.float64)
    table = np.full((len(codes), mixture.n_components), -np.inf)

    def half_square(
        k: int, rows: Int[np.ndarray, " rows"], first: int, last: int
    ) -> Float[np.ndarray, " rows"]:
        """Half the squares of entries first..last-1 of A(z − μ), added up."""
        deviations = codes[rows, :last] - means[k, None, :last]
        return 0.5 * np.sum((deviations @ whitening[k, first:last, :last].T) ** 2, axis=1)

    def start(k: int) -> None:
        own = np.flatnonzero(likeliest == k)
        table[own, k] = highest[k] - half_square(k, own, 0, dim)

    def search(k: int) -> None:
        # In blocks of codes, which bound the memory that each thread takes.
        for begin in range(0, len(codes), _BLOCK):
            rows = np.flatnonzero(likeliest[begin : begin + _BLOCK] != k) + begin
            bound = np.full(len(rows), highest[k])
            for first, last in pairwise([0, *ends]):
                # Each further part of the dimensions lowers the bound; few pairs are left for the
                # last, largest part.
                bound -= half_square(k, rows, first, last)
                counts = (bound >= least[rows]) | (bound - penalty[k] >= least_penalised[rows])
                rows, bound = rows[counts], bound[counts]
            table[rows, k] = bound

    # First all likeliest pairs: they say how small another pair must be to be left out.
    _in_parallel(start, components)
    least = table[np.arange(len(codes)), likeliest] + np.log(_NO_PART)
    least_penalised = least - penalty[likeliest]
    _in_parallel(search, components)
    return table


def _maximise(
    codes: Float[np.ndarray, "codes dim"],
    responsibilities: Float[np.ndarray, "codes components"],
    means: Float[np.ndarray, "components dim"],
    covariances: Float[np.ndarray, "..."],
    regularisation: float,
) -> Float[np.ndarray, " components"]:
    """The M step: returns π, and writes μ and Σ (or its diagonal) in place.

    A component that no code belongs to keeps its place, with weight near 0.
    """
    # In double precision, since sums of squares over many codes lose digits.
    taken = np.where(responsibilities > _NO_PART, responsibilities, 0).astype(np.float64)
    counts = taken.sum(axis=0)

    def component(k: int) -> None:
        members = np.flatnonzero(taken[:, k])
        r, z = taken[members, k], codes[members].astype(np.float64)
        means[k] = r @ z / counts[k]
        deviations = z - means[k][None, :]
        if covariances.ndim == 3:
            scatter = (deviations * r[:, None]).T @ deviations
            covariances[k] = scatter / counts[k] + regularisation * np.eye(len(scatter))
        else:
            covariances[k] = r @ deviations**2 / counts[k] + regularisation

    _in_parallel(component, np.flatnonzero(counts > _NO_PART).tolist())
    # A component without codes keeps a weight above 0, whose logarithm is finite.
    tiny = 10 * np.finfo(np.float64).eps
    return (counts + tiny) / np.sum(counts + tiny)


def _in_parallel(function: Callable[[int], None], components: Iterable[int]) -> None:
    """Call a function for each component, one thread each: faster than threads within one."""
    needs("threadpoolctl", "evaluation")
    from threadpoolctl import threadpool_limits

    # Each thread calls BLAS, and BLAS's own threads would compete with them.
    with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(function, components))
