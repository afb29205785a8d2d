"""log p(x) by Monte Carlo: from the prior, over several sample sizes S, and from proposals.

    log p̂_S(x) = log (1/S) Σ_s p(x|z_s) = logsumexp_s log p(x|z_s) − log S,   z_s ~ p(z)

**This is a stochastic lower bound.**  p̂_S is an unbiased estimate of p(x).  By Jensen's
inequality its logarithm is below log p(x) on average, and rises with S.  For a model whose
posterior is much narrower than its prior the shortfall is tens of nats at S = 5000.  The number
then says as much about S as about the model: look at the curve over S.

The published numbers come from a script that adds log S instead of subtracting it.
`LikelihoodCurve.paper_mean` restates a result in that convention, which is 2 log S higher:
17.03 nats at S = 5000.  It serves comparison with published tables and nothing else.

Importance sampling from a proposal q(z|x) that knows the image gives, with z_s ~ q,

    log p̂(x) = logsumexp_s log w(z_s) − log S,   log w(z) = log p(z) + log p(x|z) − log q(z|x)

Also a lower bound on average, and tight where q resembles the posterior.  The effective
sample size (Σ w)² / Σ w² tells: a handful out of hundreds means that it doesn't.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, Shaped

from gncn.base.errors import ConfigError, DataError, DivergenceError, check_counts
from gncn.base.progress import advance
from gncn.evaluation.images import (
    PerImage,
    blocks,
)
from gncn.evaluation.proposals import Proposal
from gncn.evaluation.protocols import Images, WithPrior

MOST_SAMPLES = 1_000_000_000
"""The largest S: it takes days, and log p(x) hardly differs at ten times as many."""
DRAW = 1000  # prior samples drawn and decoded at once
_AT_ONCE = 2000  # images compared with these at once
_IMAGES_WEIGHED = 50  # images handled at once by importance sampling or annealing
_WEIGHED = 50  # importance samples of each image weighed at once


@dataclass(frozen=True)
class LikelihoodCurve:
    """Monte Carlo estimates of log p(x) in nats for ascending S, lower bounds on average.

    Each repetition has prior samples of its own; in it smaller S use the first of larger S.
    """

    n_samples: tuple[int, ...]
    values: Float[np.ndarray, "repeats sizes images"]

    @property
    def per_image(self) -> Float[np.ndarray, "sizes images"]:
        """Each image's estimate, averaged over repetitions."""
        return np.mean(self.values, axis=0)

    @property
    def mean(self) -> Float[np.ndarray, " sizes"]:
        """Mean over images and repetitions."""
        return np.mean(self.per_image, axis=1)

    @property
    def standard_error(self) -> Float[np.ndarray, " sizes"]:
        """Standard error of the mean over images, as far as images differ; nan for one."""
        return np.array([PerImage(row).standard_error for row in self.per_image])

    @property
    def repeat_spread(self) -> Float[np.ndarray, " sizes"] | None:
        """Standard deviation over repetitions of the mean over images; None for one."""
        if len(self.values) == 1:
            return None
        return np.std(np.mean(self.values, axis=2), axis=0, ddof=1)

    @property
    def paper_mean(self) -> Float[np.ndarray, " sizes"]:
        """The mean in the convention of the published numbers: 2 log S higher, no bound."""
        return self.mean + 2 * np.log(np.asarray(self.n_samples))


def prior_log_likelihood(
    model: WithPrior,
    x: Any,
    *,
    key: PRNGKeyArray,
    n_samples: int | Sequence[int] = 5000,
    n_repeats: int = 1,
    on_draw: Callable[[int, int], None] = advance,
) -> LikelihoodCurve:
    """Estimate log p(x) of images by Monte Carlo from the prior; a lower bound on average.

    Each image's estimates come from the same prior samples.  Memory is bounded by some million
    numbers, whatever S and the number of images.

    Args:
        model: p(z), to be sampled, and p(x|z).
        x: images as the model has them: binary, unless its pixels are Gaussian.
        key: of the prior samples.
        n_samples: S, one or several; the largest decides the cost.
        n_repeats: repetitions with other prior samples, to see how much they matter.
        on_draw: called with the number of draws done and of all.

    Raises:
        ConfigError: a number is not positive.
        DataError: `x` can't be data of the model.
        DivergenceError: the model's logits are not finite.
    """
    several = list(n_samples) if isinstance(n_samples, Sequence) else [n_samples]
    if not several:
        raise ConfigError("Give at least one n_samples; received none.")
    for size in several:
        check_counts(MOST_SAMPLES, n_samples=size)
    check_counts(MOST_SAMPLES, n_repeats=n_repeats)
    sizes = tuple(sorted(set(map(int, several))))
    # Of shapes alone: nothing is drawn or decoded.
    width = eqx.filter_eval_shape(lambda m: m.decode(m.prior.sample(key, 1)), model).shape[-1]
    images = model.output.check(x, width)
    rows = min(_AT_ONCE, len(images))
    # Filled up to whole blocks, so that one program serves all of them.
    padded = np.pad(images, ((0, -len(images) % rows), (0, 0)))
    blocked = jnp.asarray(padded.reshape(-1, rows, images.shape[1]))

    # Pieces between the ends of draws and the sizes S that are asked for.
    spans = list(pairwise(sorted({*range(0, sizes[-1], DRAW), *sizes})))
    values = np.empty((n_repeats, len(sizes), len(images)), np.float32)
    for repeat in range(n_repeats):
        # A key for each repetition and draw, so smaller S use the first samples of larger S.
        repeat_key = jax.random.fold_in(key, repeat)
        total = jnp.full(blocked.shape[:2], -jnp.inf)
        for number, (first, last) in enumerate(spans, start=1):
            draw = first // DRAW
            samples = np.arange(draw * DRAW, (draw + 1) * DRAW)
            # A piece may be part of a draw: the draw is made whole, and only its part counts.
            wanted = jnp.asarray((first <= samples) & (samples < last))
            total = _absorb(model, blocked, total, jax.random.fold_in(repeat_key, draw), wanted)
            if last in sizes:
                # log S is subtracted: the sum becomes a mean.
                ended = np.asarray(total).reshape(-1)[: len(images)] - np.log(last)
                values[repeat, sizes.index(last)] = ended
            on_draw(repeat * len(spans) + number, n_repeats * len(spans))
    if not np.isfinite(values).all():
        raise DivergenceError(
            "log p(x) is not finite, since the model's logits are not. Check its parameters."
        )
    return LikelihoodCurve(sizes, values)


@eqx.filter_jit
def _absorb(
    model: WithPrior,
    x: Shaped[Array, "blocks rows pixels"],
    total: Float[Array, "blocks rows"],
    key: PRNGKeyArray,
    wanted: Bool[Array, " draw"],
) -> Float[Array, "blocks rows"]:
    """Add one draw's p(x|z) to the running sums, which are kept as logarithms."""
    drive = model.decode(model.prior.sample(key, DRAW))

    def block(images: Shaped[Array, "rows pixels"]) -> Float[Array, " rows"]:
        table = model.output.table(images.astype(jnp.float32), drive)
        return jax.nn.logsumexp(jnp.where(wanted[None, :], table, -jnp.inf), axis=1)

    # Sums of probabilities as small as e^−1000 exist only as logarithms.
    return jnp.logaddexp(total, lax.map(block, x))


@dataclass(frozen=True)
class WeightedEstimate(PerImage):
    """Estimates of log p(x) in nats from weighted samples or chains, lower bounds on average.

    Effective sample sizes lie between 1 and `n_samples`, S, the number for each image.
    """

    effective_sample_size: Float[np.ndarray, " images"]
    n_samples: int

    @property
    def sampling_error(self) -> Float[np.ndarray, " images"]:
        """Standard error of each value in nats, as far as its samples tell; NaN for one sample.

        It is √((1/ESS − 1/S) S / (S − 1)), the standard deviation of the weights over their mean
        and over √S.
        """
        if self.n_samples == 1:
            return np.full(len(self.values), np.nan)
        spread = np.maximum(1 / self.effective_sample_size - 1 / self.n_samples, 0)
        return np.sqrt(spread * self.n_samples / (self.n_samples - 1))


class Seen(NamedTuple):
    """Log densities of codes in nats: of each term of q with its share, of p(z) and of p(x|z)."""

    terms: Float[Array, "codes terms"]
    prior: Float[Array, " codes"]
    likelihood: Float[Array, " codes"]

    @property
    def log_weight(self) -> Float[Array, " codes"]:
        """Log w(z) = log p(z) + log p(x|z) − log q(z|x)."""
        return self.prior + self.likelihood - jax.nn.logsumexp(self.terms, axis=-1)


class Weighing(eqx.Module):
    """Some images, the proposals q(z|x) for them, and the weights w(z) = p(x, z) / q(z|x).

    Codes are many for each image; an image's codes are neighbours.
    """

    model: WithPrior
    x: Float[Array, "images pixels"]
    proposal: Proposal

    def sample(
        self, keys: Shaped[PRNGKeyArray, " images"], n: int
    ) -> tuple[Float[Array, "codes dim"], Int[Array, " codes"]]:
        """Draw `n` codes for each image from its proposal, each with the term it comes from."""
        codes, term = self.proposal.sample(self.model.prior, keys, n)
        return codes.reshape(len(keys) * n, -1), term.reshape(-1)

    def grouped(self, of_codes: Shaped[Array, "codes *size"]) -> Shaped[Array, "images n *size"]:
        """The same with an axis of images."""
        return of_codes.reshape(len(self.x), -1, *of_codes.shape[1:])

    def log_likelihood(self, codes: Float[Array, "codes dim"]) -> Float[Array, " codes"]:
        """Log p(x|z) in nats."""
        repeated = jnp.repeat(self.x, len(codes) // len(self.x), axis=0)
        return self.model.output.log_prob(repeated, self.model.decode(codes))

    def log_gaussians(self, codes: Float[Array, "codes dim"]) -> Float[Array, "codes modes"]:
        """Log densities of the proposals' Gaussians in nats."""
        found = self.proposal.log_gaussians(self.grouped(codes))
        return found.reshape(len(codes), -1)

    def terms(
        self, gaussians: Float[Array, "codes modes"], prior: Float[Array, " codes"]
    ) -> Float[Array, "codes terms"]:
        """Log densities of the terms of q, each with its share."""
        shares = jnp.repeat(self.proposal.log_shares, len(prior) // len(self.x), axis=0)
        return shares + jnp.concatenate([gaussians, prior[:, None]], axis=1)

    def see(self, codes: Float[Array, "codes dim"]) -> Seen:
        """All log densities of codes."""
        prior = self.model.log_prior(codes)
        terms = self.terms(self.log_gaussians(codes), prior)
        return Seen(terms, prior, self.log_likelihood(codes))


def by_blocks(
    weigh: Callable[[Weighing, Int[np.ndarray, " rows"]], Float[Array, "_ rows"]],
    model: WithPrior,
    x: Images,
    proposal: Proposal,
    n_samples: int,
    on_block: Callable[[int, int], None] | None,
) -> tuple[WeightedEstimate, list[Float[np.ndarray, " images"]]]:
    """Weigh images in blocks of one size, so that one program with bounded memory serves all.

    `weigh` gives log Σ w and log Σ w², sums of `n_samples` weights, and whatever else of images
    by their rows in `x`; this is returned with the estimate.
    """
    images = model.output.check(x)
    sizes = {len(leaf) for leaf in jax.tree.leaves(proposal)}
    if sizes != {len(images)}:
        raise DataError(
            f"Each array of the proposal must have a leading axis of {len(images)} images; "
            f"received leading axes of {sorted(sizes)}."
        )
    # Blocks have equal length; the last repeats an image, whose surplus results are dropped.
    parts = []
    for rows, kept in blocks(len(images), _IMAGES_WEIGHED):
        own = jax.tree.map(lambda leaf, rows=rows: leaf[rows], proposal)
        block = Weighing(model, jnp.asarray(images[rows], jnp.float32), own)
        parts.append(np.asarray(weigh(block, rows))[:, :kept])
        if on_block is not None:
            on_block(int(rows[kept - 1]) + 1, len(images))
    log_sum, log_sum_squares, *rest = np.concatenate(parts, axis=1)
    if not (np.isfinite(log_sum).all() and np.isfinite(log_sum_squares).all()):
        raise DivergenceError(
            "An importance weight is not finite: the model's logits or log_prior, or the "
            "proposal, are not. Check their parameters."
        )
    # (Σ w)² / Σ w², which rounding may push out of its range from 1 to S.
    size = np.exp(np.minimum(2 * log_sum - log_sum_squares, np.log(n_samples)))
    estimate = WeightedEstimate(log_sum - np.log(n_samples), np.maximum(size, 1), n_samples)
    return estimate, rest


def importance_log_likelihood(
    model: WithPrior,
    proposal: Proposal,
    x: Images,
    *,
    key: PRNGKeyArray,
    n_samples: int = 500,
    on_block: Callable[[int, int], None] | None = None,
) -> WeightedEstimate:
    """Estimate log p(x) of images by importance sampling; a lower bound on average.

    Args:
        model: p(z) and p(x|z).
        proposal: q(z|x) of each image.
        x: images as the model has them: binary, unless its pixels are Gaussian.
        key: of the samples.
        n_samples: S, for each image.
        on_block: called with the number of images done and of all.

    Raises:
        ConfigError: a number is not positive.
        DataError: `x` can't be data of the model, or there isn't one proposal for each image.
        DivergenceError: a weight is not finite.
    """
    check_counts(MOST_SAMPLES, n_samples=n_samples)

    def weigh(images: Weighing, rows: Int[np.ndarray, " rows"]) -> Float[Array, "2 rows"]:
        return _weigh(images, image_keys(key, rows), n_samples)

    return by_blocks(weigh, model, x, proposal, n_samples, on_block)[0]


def image_keys(
    key: PRNGKeyArray, rows: Int[np.ndarray, " images"]
) -> Shaped[PRNGKeyArray, " images"]:
    """A key for each image, which depends on its row alone."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.asarray(rows))


def log_sums(log_weight: Float[Array, "images n"]) -> Float[Array, "2 images"]:
    """Log Σ w and log Σ w² of each image."""
    return jax.nn.logsumexp(jnp.stack([log_weight, 2 * log_weight]), axis=-1)


@eqx.filter_jit
def _weigh(
    images: Weighing, keys: Shaped[PRNGKeyArray, " images"], n_samples: int
) -> Float[Array, "2 images"]:
    """`log_sums`, added up over draws of bounded size."""
    draw = min(_WEIGHED, n_samples)

    def add(
        sums: Float[Array, "2 images"], number: Int[Array, ""]
    ) -> tuple[Float[Array, "2 images"], None]:
        # A key for each image and draw, so results don't depend on how images are put into blocks.
        draw_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
        codes, _ = images.sample(draw_keys, draw)
        log_weight = images.see(codes).log_weight.reshape(len(keys), draw)
        # The last draw is made whole, and its surplus has weight 0.
        wanted = number * draw + jnp.arange(draw) < n_samples
        new = log_sums(jnp.where(wanted[None, :], log_weight, -jnp.inf))
        return jnp.logaddexp(sums, new), None

    start = jnp.full((2, len(keys)), -jnp.inf)
    return lax.scan(add, start, jnp.arange(-(-n_samples // draw)))[0]
