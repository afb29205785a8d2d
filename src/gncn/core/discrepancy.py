"""Total discrepancy ψ of a network's states (Eq 6).

    ψ = log Bernoulli(x; z̄^0) + Σ_l [½ log|Σ⁻¹| − ½ d^T Σ⁻¹ d],    d = z^l − z̄^l

ψ is the complete-data log-likelihood up to a constant, so higher is better.  Each term
stands with its likelihood, in `gncn.core.likelihood`.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from gncn.core.network import Latents, Network, Responses


class Discrepancy(NamedTuple):
    """Total discrepancy ψ (Eq 6) of each image, in nats.

    It is the sum of the terms of the predicted layers, which stand in ascending order.
    """

    total: Float[Array, " batch"]
    layers: Float[Array, "batch predicted"]


def discrepancy(network: Network, latents: Latents, responses: Responses) -> Discrepancy:
    """ψ (Eq 6), whole and by layer, from states and `Network.respond` of the same states."""
    terms = []
    for index in network.circuit.predicted:
        layer = network.layers[index]
        actual = layer.actual(latents[index], responses.activities[index])
        terms.append(layer.errors.log_prob(actual, responses.drives[index]))
    # Layers stand last, so that the batch leads as everywhere.
    layers = jnp.stack(terms, axis=-1)
    return Discrepancy(jnp.sum(layers, axis=-1), layers)


def total_discrepancy(network: Network, latents: Latents) -> Discrepancy:
    """ψ (Eq 6) as a function of the states alone; see `discrepancy`."""
    return discrepancy(network, latents, network.respond(latents))
