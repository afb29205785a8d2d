"""log p(x) by importance sampling from a proposal that knows the image.

    log p̂(x) = logsumexp_s [ log p(z_s) + log p(x|z_s) − log q(z_s|x) ] − log S,  z_s ~ q

Also a lower bound on average, and tight where q resembles the posterior.  The effective
sample size (Σ w)² / Σ w² tells: a handful out of hundreds means that it doesn't.
"""

from collections.abc import Callable
from dataclasses import dataclass

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gncn.base.errors import DivergenceError
from gncn.evaluation.bernoulli import binary_images, log_likelihood
from gncn.evaluation.blocks import by_blocks, check_positive
from gncn.evaluation.proposals import Proposal, of_images
from gncn.evaluation.protocols import Images, LatentModel
from gncn.evaluation.scores import PerImage

DRAW = 50
"""Samples of each image weighed at once."""


@dataclass(frozen=True)
class WeightedEstimate(PerImage):
    """Estimates of log p(x) in nats from weighted samples or chains, lower bounds on average.

    Effective sample sizes lie between 1 and `n_samples`, the number for each image.
    """

    effective_sample_size: Float[np.ndarray, " images"]
    n_samples: int


def weighted_estimate(
    log_sum: Float[np.ndarray, " images"], log_sum_squares: Float[np.ndarray, " images"], n: int
) -> WeightedEstimate:
    """Build the estimate from log Σ w and log Σ w², which must be finite."""
    if not (np.isfinite(log_sum).all() and np.isfinite(log_sum_squares).all()):
        raise DivergenceError(
            "An importance weight is not finite: the model's logits or log_prior, or the "
            "proposal, are not. Check their parameters."
        )
    size = np.exp(np.minimum(2 * log_sum - log_sum_squares, np.log(n)))
    return WeightedEstimate(log_sum - np.log(n), np.maximum(size, 1), n)


def importance_log_likelihood(
    model: LatentModel,
    proposal: Proposal,
    x: Images,
    *,
    key: PRNGKeyArray,
    n_samples: int = 500,
    image_block: int = 50,
    on_block: Callable[[int, int], None] | None = None,
) -> WeightedEstimate:
    """Estimate log p(x) of images by importance sampling; a lower bound on average.

    Args:
        model: p(z) and p(x|z).
        proposal: q(z|x), for instance `GaussianProposal` or `laplace_proposal`.
        x: binary images.
        key: of the samples; the result doesn't depend on `image_block`.
        n_samples: samples for each image.
        image_block: images handled at once, 50 samples of each at a time.
        on_block: called with the number of images done and of all.

    Raises:
        ConfigError: a number is not positive.
        DataError: `x` is not binary, or there isn't one proposal for each image.
        DivergenceError: a weight is not finite.
    """
    check_positive(n_samples=n_samples, image_block=image_block)
    images = binary_images(x)

    def sums(rows: Int[np.ndarray, " images"]) -> Float[Array, "2 images"]:
        chosen = of_images(proposal, rows, len(images))
        block = jnp.asarray(images[rows], jnp.float32)
        return _weigh(model, chosen, block, image_keys(key, rows), n_samples)

    log_sum, log_sum_squares = by_blocks(sums, len(images), image_block, on_block)
    return weighted_estimate(log_sum, log_sum_squares, n_samples)


def image_keys(
    key: PRNGKeyArray, rows: Int[np.ndarray, " images"]
) -> Shaped[PRNGKeyArray, " images"]:
    """A key for each image, which depends on its index alone."""
    return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(key, jnp.asarray(rows))


@eqx.filter_jit
def _weigh(
    model: LatentModel,
    proposal: Proposal,
    x: Float[Array, "images pixels"],
    keys: Shaped[PRNGKeyArray, " images"],
    n_samples: int,
) -> Float[Array, "2 images"]:
    """Sums log Σ w and log Σ w² of each image."""
    draw = min(DRAW, n_samples)
    repeated = jnp.repeat(x, draw, axis=0)

    def one_draw(
        sums: Float[Array, "2 images"], number: Int[Array, ""]
    ) -> tuple[Float[Array, "2 images"], None]:
        draw_keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(keys, number)
        codes = eqx.filter_vmap(lambda q, k: q.sample(k, draw))(proposal, draw_keys)
        log_q = eqx.filter_vmap(lambda q, z: q.log_prob(z))(proposal, codes)
        flat = codes.reshape(len(x) * draw, -1)
        log_joint = model.log_prior(flat) + log_likelihood(repeated, model.decode(flat))
        log_weight = log_joint.reshape(len(x), draw) - log_q
        wanted = number * draw + jnp.arange(draw) < n_samples
        log_weight = jnp.where(wanted[None, :], log_weight, -jnp.inf)
        new = jax.nn.logsumexp(jnp.stack([log_weight, 2 * log_weight]), axis=-1)
        return jnp.logaddexp(sums, new), None

    start = jnp.full((2, len(x)), -jnp.inf)
    sums, _ = lax.scan(one_draw, start, jnp.arange(-(-n_samples // draw)))
    return sums
