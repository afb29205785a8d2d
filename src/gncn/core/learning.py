"""Learning: local Hebbian updates of the synapses after settling (Eqs 7, 17, 18, 19).

Each synapse changes by the product of what its two neurons do, averaged over the
mini-batch:

    ΔW^l = e^l φ(z^{l+1})^T        (Eqs 17, 18)
    ΔE^l = λ φ(z^{l+1}) (e^l)^T    (Eq 19; the transpose of ΔW^l, times λ)
    ΔΣ⁻¹ = ½ Σ − ½ E[d d^T]        (Eq 7)
    Δb^l = e^l                     (where a layer has a bias)

All ascend ψ.  With exact feedback ΔW^l is (g' ⊙ e^l) φ^T, the gradient, and Δb^l is g' ⊙ e^l.

An Optax optimiser turns ΔW into a direction.  Optimisers work entry by entry, so E's
direction is the transpose of W's, as ΔE is of ΔW, and one optimiser state serves both.
λ multiplies E's step *after* the optimiser, because Adam would cancel a factor before it.
A bias learns by the same optimiser and at the same rate as W.
The precision takes plain gradient steps at a rate of its own: Adam moves all J² entries
equally far, whatever their evidence.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

from gncn.core.network import Latents, Network, Responses
from gncn.core.precision import Units


class Updates(NamedTuple):
    """Directions that ascend ψ, averaged over a mini-batch.

    For connections and biases they have the structure of the `plastic` arrays.  For biases and
    error neurons they are () where a layer learns nothing.
    """

    connections: tuple[Any, ...]
    biases: tuple[Any, ...]
    errors: tuple[Any, ...]

    @property
    def plastic(self) -> tuple[Any, ...]:
        """The directions of all arrays that the optimiser changes, as `plastic` has them."""
        return (*self.connections, *self.biases)


def plastic(network: Network) -> tuple[Any, ...]:
    """The arrays that the optimiser changes: of each connection, then each layer's bias."""
    connections = (connection.plastic for connection in network.connections)
    return (*connections, *(layer.bias.plastic for layer in network.layers))


def hebbian_updates(
    network: Network,
    latents: Latents,
    responses: Responses,
    weights: Float[Array, " batch"] | None = None,
) -> Updates:
    """ΔW, Δb and ΔΣ⁻¹ of a mini-batch; ΔE follows from ΔW.

    Args:
        network: as it settled.
        latents: settled states of layers 0..L.
        responses: `Network.respond` of these states.
        weights: weight of each image in the average, not negative; by default all equal.
            An image of weight 0 leaves no trace.
    """
    # The last mini-batch is filled up with images of weight 0; the mean is over the others.
    weights = jnp.ones(latents[0].shape[0]) if weights is None else weights
    shares = weights / jnp.sum(weights)

    def sent_up(index: int) -> Units:
        # Called through the class; see `Network`.
        return type(network).sent_up(network, index, latents, responses) * shares[:, None]

    changes = []
    for connection in network.connections:
        # Learning multiplies in the same type as settling.
        sent = responses.activities[connection.source].astype(network.settler.products)
        changes.append(connection.update(sent_up(connection.target), sent))
    biases = (layer.bias.update(sent_up(index)) for index, layer in enumerate(network.layers))
    each = zip(network.layers, latents, responses.activities, responses.drives, strict=True)
    # Eq 7 learns from the deviations d, not from the weighted errors e.
    errors = (layer.errors.update(layer.actual(z, phi), h, shares) for layer, z, phi, h in each)
    return Updates(tuple(changes), tuple(biases), tuple(errors))


def learned(
    network: Network,
    directions: tuple[Any, ...],
    updates: Updates,
    *,
    rate: Float[Array, ""],
    feedback_rate: Float[Array, ""],
    precision_rate: Float[Array, ""],
    precision_bounds: tuple[float, float],
) -> Network:
    """The network after one step, its norms and eigenvalues held.

    Args:
        network: before the step.
        directions: what the optimiser made of ``updates.plastic``.
        updates: from `hebbian_updates`.
        rate: step of W and b.
        feedback_rate: λ: E takes λ times the steps of W.
        precision_rate: step of Σ⁻¹.
        precision_bounds: least and greatest eigenvalue of every Σ⁻¹.
    """
    # `plastic` puts connections first, then the layers' biases.
    n = len(network.connections)
    pairs = zip(network.connections, directions[:n], strict=True)
    connections = (synapses.learned(step, rate, feedback_rate) for synapses, step in pairs)
    pairs = zip(network.layers, directions[n:], strict=True)
    biases = (layer.bias.learned(step, rate) for layer, step in pairs)
    pairs = zip(network.layers, updates.errors, strict=True)
    errors = (layer.errors.learned(own, precision_rate, precision_bounds) for layer, own in pairs)
    return network.replaced(errors=errors, biases=biases, connections=connections)
