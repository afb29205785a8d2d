"""The steps of EM for a Gaussian mixture: start, E step, M step.

`gncn.evaluation.mixture_fit` puts them together and explains them.
"""

import os
import warnings
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from gncn.base.extras import needs
from gncn.evaluation.blocks import blocks
from gncn.evaluation.mixture import Covariance, Mixture

_MANY = 64
"""From so many dimensions on, full components are searched for each code's likeliest ones."""
_SHARES = (0.15, 0.4)
"""Shares of the dimensions after which components that are too far are left out."""
_BLOCK = 4096
_NO_PART = 1e-12
"""A responsibility below this is taken for 0."""
_CODES_PER_CLUSTER = 200
"""k-means, which only gives a start, sees this many codes for each of its clusters."""


class Moments(NamedTuple):
    """What the M step estimates.

    Attributes:
        weights: π.
        means: μ.
        covariances: Σ, shaped as `mixture_from_moments` takes them.
    """

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
