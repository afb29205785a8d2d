"""`Settler`: how the states of a network come to agree.  The settlers are in `gncn.settlers`.

A settler is asked three things.  `prepare` works out what stays the same for a whole
settling, `init` what it remembers before the first step, and `step` takes a step.
"""

import abc
from typing import TYPE_CHECKING, Any

from jaxtyping import Array, Float
from pydantic import Field

from gncn.base.description import Part
from gncn.base.errors import MOST_STEPS
from gncn.base.registry import Registry
from gncn.core.products import Products

# core.network imports this module, so an import here would run in a circle.
if TYPE_CHECKING:
    import gncn.core.network

Latents = tuple[Float[Array, "#batch _units"], ...]
"""States z^0 (the data), z^1, ..., z^L, each of shape (batch, J_l), or (1, J_l) where a layer's
states are the same for all images."""


class Settler(Part, abc.ABC):
    """How states settle; fixed when a program is compiled.

    Attributes:
        n_settle_steps: T, the default number of settling steps.
        tolerance: settle until at rest within this (see `gncn.settle`); None for T steps.
        products: type of the factors in the products of settling and learning, whose sums
            are in single precision.  ``bfloat16`` rounds factors to 8 bits, and is faster
            where the hardware has units for it (elsewhere as fast as ``float32``).
            `gncn.settle` gives responses to the final states in single precision all the
            same.
    """

    n_settle_steps: int = Field(default=50, ge=1, le=MOST_STEPS)
    tolerance: float | None = Field(default=None, gt=0)
    products: Products = "float32"

    def prepare(self, network: "gncn.core.network.Network", last: Any) -> Any:
        """Everything that stays the same while states settle; by default nothing.

        The network's connections are laid out for products.  `last` is what this returned for
        the mini-batch before; None if there was none.
        """
        return ()

    def init(self, network: "gncn.core.network.Network", latents: Latents) -> Any:
        """The memory before the first step; by default nothing."""
        return ()

    @property
    def forgets(self) -> bool:
        """Whether a step depends on the present states alone, as `plain_step` does."""
        # With a `step` or `init` of its own a settler may remember the past.
        own = type(self)
        return own.step is Settler.step and own.init is Settler.init

    @abc.abstractmethod
    def plain_step(
        self, network: "gncn.core.network.Network", prepared: Any, latents: Latents
    ) -> Latents:
        """The states after a step that forgets the past.

        Where this changes nothing, states are at rest.  Layer 0 stays as it is; `prepared` is
        from `prepare`.
        """

    def step(
        self, network: "gncn.core.network.Network", prepared: Any, latents: Latents, state: Any
    ) -> tuple[Latents, Any]:
        """The states after a step, and the memory of it.

        `state` is the memory from `init` or from the step before; the rest is as for
        `plain_step`.
        """
        return self.plain_step(network, prepared, latents), state


SETTLERS: Registry[type[Settler]] = Registry("settler", Settler, scope="settling")
