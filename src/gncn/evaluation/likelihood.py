"""log p(x) by simple Monte Carlo from the prior, over several sample sizes S at once.

    log p̂_S(x) = log (1/S) Σ_s p(x|z_s) = logsumexp_s log p(x|z_s) − log S,   z_s ~ p(z)

**This is a stochastic lower bound.**  p̂_S is an unbiased estimate of p(x), so by Jensen's
inequality its logarithm is below log p(x) on average, and rises with S.  For a model
whose posterior is much narrower than its prior the shortfall is tens of nats at S = 5000,
so the number says as much about S as about the model: look at the curve over S, and at
`importance` or `annealing` for tight estimates.

The published numbers come from a script that adds log S instead of subtracting it;
`LikelihoodCurve.paper_mean` restates a result in that convention, which is 2 log S
higher (17.03 nats at S = 5000), for comparison with published tables and nothing else.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Bool, Float, PRNGKeyArray, UInt8

from gncn.base.errors import ConfigError, DivergenceError
from gncn.evaluation.bernoulli import binary_images, log_likelihood_table
from gncn.evaluation.blocks import check_positive
from gncn.evaluation.protocols import Images, Sampler

DRAW = 1000
"""Prior samples drawn and decoded at once."""


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
        n = self.values.shape[2]
        if n == 1:
            return np.full(len(self.n_samples), np.nan)
        return np.std(self.per_image, axis=1, ddof=1) / np.sqrt(n)

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
    model: Sampler,
    x: Images,
    *,
    key: PRNGKeyArray,
    n_samples: int | Sequence[int] = 5000,
    n_repeats: int = 1,
    image_block: int = 2000,
    on_draw: Callable[[int, int], None] | None = None,
) -> LikelihoodCurve:
    """Estimate log p(x) of images by Monte Carlo from the prior; a lower bound on average.

    Each image's estimates come from the same prior samples.  Memory is bounded by
    `image_block` x 1000 numbers, whatever S and the number of images.

    Args:
        model: p(z), to be sampled, and p(x|z).
        x: binary images.
        key: of the prior samples; the result doesn't depend on `image_block`.
        n_samples: S, one or several; the largest decides the cost.
        n_repeats: repetitions with other prior samples, to see how much they matter.
        image_block: images compared with 1000 samples at once.
        on_draw: called with the number of draws done and of all.

    Raises:
        ConfigError: a number is not positive.
        DataError: `x` is not binary.
        DivergenceError: the model's logits are not finite.
    """
    sizes = (n_samples,) if isinstance(n_samples, int) else tuple(sorted(set(n_samples)))
    if not sizes:
        raise ConfigError("Give at least one n_samples; received none.")
    check_positive(n_samples=sizes[0], n_repeats=n_repeats, image_block=image_block)
    images = binary_images(x)
    rows = min(image_block, len(images))
    n_blocks = -(-len(images) // rows)
    padded = np.pad(images, ((0, n_blocks * rows - len(images)), (0, 0)))
    blocked = jnp.asarray(padded.reshape(n_blocks, rows, -1))

    plan = _plan(sizes)
    values = np.empty((n_repeats, len(sizes), len(images)), np.float32)
    for repeat in range(n_repeats):
        repeat_key = jax.random.fold_in(key, repeat)
        total = jnp.full((n_blocks, rows), -jnp.inf)
        for number, (draw, used, size) in enumerate(plan, start=1):
            total = _absorb(model, blocked, total, jax.random.fold_in(repeat_key, draw), used)
            if size is not None:
                ended = np.asarray(total).reshape(-1)[: len(images)] - np.log(sizes[size])
                values[repeat, size] = ended
            if on_draw is not None:
                on_draw(repeat * len(plan) + number, n_repeats * len(plan))
    if not np.isfinite(values).all():
        raise DivergenceError(
            "log p(x) is not finite, since the model's logits are not. Check its parameters."
        )
    return LikelihoodCurve(sizes, values)


def _plan(sizes: Sequence[int]) -> list[tuple[int, Bool[Array, " draw"], int | None]]:
    """What to add up in turn: a draw's number, which of its samples, and the S thus reached."""
    plan, done = [], 0
    for index, size in enumerate(sizes):
        while done < size:
            draw, first = divmod(done, DRAW)
            last = min(DRAW, first + size - done)
            used = (np.arange(DRAW) >= first) & (np.arange(DRAW) < last)
            done += last - first
            plan.append((draw, jnp.asarray(used), index if done == size else None))
    return plan


@eqx.filter_jit
def _absorb(
    model: Sampler,
    x: UInt8[Array, "blocks rows pixels"],
    total: Float[Array, "blocks rows"],
    key: PRNGKeyArray,
    used: Bool[Array, " draw"],
) -> Float[Array, "blocks rows"]:
    """Add one draw's p(x|z) to the running sums, which are kept as logarithms."""
    logits = model.decode(model.sample_prior(key, DRAW))

    def block(images: UInt8[Array, "rows pixels"]) -> Float[Array, " rows"]:
        table = log_likelihood_table(images.astype(jnp.float32), logits)
        return jax.nn.logsumexp(jnp.where(used[None, :], table, -jnp.inf), axis=1)

    return jnp.logaddexp(total, lax.map(block, x))
