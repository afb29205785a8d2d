"""Steps with momentum (Polyak's heavy ball): fewer steps to where Euler's rest.

    z ← P(G(z) + μ (z − z'))

G is Euler's step, z' are the states before the last step, and P holds layers that are
non-negative.  It rests where Euler's steps rest, since there Δz = 0.
"""

from typing import Any

from pydantic import Field

from gncn.core.network import Latents, Network
from gncn.core.settler import SETTLERS, Settler
from gncn.settlers.euler import Euler


class Momentum(Settler):
    """Euler's steps, and a share μ, `momentum`, of the step before."""

    momentum: float = Field(ge=0, lt=1, description="Share of the last step that is repeated.")

    plain_step = Euler.plain_step

    def init(self, network: Network, latents: Latents) -> Latents:
        # The first states count as their own predecessors, so there is no push at the start.
        return latents

    def step(
        self, network: Network, prepared: Any, latents: Latents, state: Latents
    ) -> tuple[Latents, Latents]:
        """Euler's step and μ times the step before."""
        target = self.plain_step(network, prepared, latents)
        each = zip(network.layers[1:], target[1:], latents[1:], state[1:], strict=True)
        ahead = (layer.hold(to + self.momentum * (now - before)) for layer, to, now, before in each)
        return (target[0], *ahead), latents


SETTLERS.register("momentum", Momentum)
