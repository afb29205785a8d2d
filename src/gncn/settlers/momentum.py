"""Steps with momentum (Polyak's heavy ball): fewer steps to where Euler's rest.

    z ← P(G(z) + μ (z − z'))

G is Euler's step, z' are the states before the last step, and P holds layers that are
non-negative.  It rests where Euler's steps rest, since there Δz = 0.
"""

from typing import Any

from pydantic import Field

from gncn.core.network import Latents, Network
from gncn.core.settler import SETTLERS, Settler
from gncn.settlers.euler import moved


class Momentum(Settler):
    """Euler's steps, and a share of the step before.

    Attributes:
        momentum: μ.
    """

    momentum: float = Field(ge=0, lt=1)

    def init(self, network: Network, latents: Latents) -> Latents:
        """The states before the last step: the present ones."""
        return latents

    def plain_step(self, network: Network, prepared: Any, latents: Latents) -> Latents:
        """Euler's step."""
        return moved(network, latents, network.velocity(latents, network.respond(latents)))

    def step(
        self, network: Network, prepared: Any, latents: Latents, state: Latents
    ) -> tuple[Latents, Latents]:
        """Euler's step and μ times the step before."""
        target = self.plain_step(network, prepared, latents)
        ahead = (
            layer.hold(to + self.momentum * (now - before))
            for layer, to, now, before in zip(
                network.layers[1:], target[1:], latents[1:], state[1:], strict=True
            )
        )
        return (target[0], *ahead), latents


SETTLERS.register("momentum", Momentum)
