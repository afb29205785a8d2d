"""Euler's steps, all layers at once: the paper's recipe (Eq 2)."""

from typing import Any

from gncn.core.network import Latents, Network
from gncn.core.settler import SETTLERS, Settler


class Euler(Settler):
    """z^l ← z^l + β Δz^l, all layers at once."""

    def plain_step(self, network: Network, prepared: Any, latents: Latents) -> Latents:
        """One step from the responses to the present states."""
        return network.moved(latents, network.velocity(latents))


SETTLERS.register("euler", Euler)
