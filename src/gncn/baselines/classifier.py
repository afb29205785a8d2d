"""DSRN: a deep sparse rectifier network, for classification only (Glorot et al. 2011).

    ψ = log p(y|x) − λ Σ_l ‖ẑ^l‖₁,    p(y|x) = softmax of the linear last layer

over the two hidden ReLU layers.  The paper prints no equation for it; the L1 norm of
the activities is what makes the network of its reference sparse.
"""

from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import PRNGKeyArray

from gncn.baselines.baseline import Baseline, Dense, Loss, Objective
from gncn.training.epochs import ACTIVE, Batch, Statistics
from gncn.training.history import ErrorName


def classification_loss(model: "DSRN", batch: Batch, key: PRNGKeyArray) -> Loss:
    """−ψ, averaged over images."""
    seen = model.statistics(batch, key)
    return -batch.mean(seen.discrepancy), seen


class DSRN(Baseline):
    """Sparse rectifier classifier; see the module.

    Attributes:
        network: image to the logits of classes.
    """

    network: Dense
    error_name: ClassVar[ErrorName] = "error_percent"
    objectives: ClassVar[tuple[Objective, ...]] = (Objective(classification_loss, ("network",)),)

    def statistics(self, batch: Batch, key: PRNGKeyArray) -> Statistics:
        """Error in % (0 or 100 for an image), ψ and its two terms; nothing is random."""
        assert batch.labels is not None
        *hidden, logits = self.network.layers(batch.images)
        log_share = jax.nn.log_softmax(logits, axis=-1)
        chosen = jnp.take_along_axis(log_share, batch.labels[:, None], axis=-1)[:, 0]
        # The hidden layers alone: logits must not be pushed to 0.
        norms = jnp.stack([jnp.sum(jnp.abs(units), axis=-1) for units in hidden])
        terms = jnp.stack([chosen, -self.blueprint.penalty * jnp.sum(norms, axis=0)], axis=-1)
        # In %, so that its mean over images is the error in %.
        wrong = 100.0 * (jnp.argmax(logits, axis=-1) != batch.labels)
        active = jnp.stack([jnp.mean(units > ACTIVE, axis=-1) for units in hidden], axis=-1)
        return Statistics(wrong, jnp.sum(terms, axis=-1), terms, active, None)
