"""Euler's steps, all layers at once: the paper's recipe (Eq 2)."""

from typing import Any

from gncn.core.network import Latents, Network
from gncn.core.settler import SETTLERS, Settler


class Euler(Settler):
    """z^l ← z^l + β Δz^l, all layers at once."""

    def plain_step(self, network: Network, prepared: Any, latents: Latents) -> Latents:
        """One step from the responses to the present states."""
        velocity = network.velocity(latents, network.respond(latents))
        return moved(network, latents, velocity)


def moved(network: Network, latents: Latents, velocity: Latents) -> Latents:
    """z^l + β Δz^l, held at or above zero where the layer asks for it.

    Args:
        network: the network.
        latents: states of layers 0..L; layer 0 stays as it is.
        velocity: Δz of layers 1..L.
    """
    triples = zip(network.layers[1:], latents[1:], velocity, strict=True)
    return (latents[0], *(layer.hold(z + layer.step_size * v) for layer, z, v in triples))


SETTLERS.register("euler", Euler)
