"""Steps in sequential order: one layer after the other, from the bottom up.

Each layer sees where the layers below have gone, so one step carries news of the data to
the top.  States rest where Euler's steps rest.
"""

from collections.abc import Callable
from typing import Any

from jaxtyping import Array, Float

from gncn.core.network import Latents, Network, Responses
from gncn.core.settler import SETTLERS, Settler

Steer = Callable[[int, Float[Array, "#batch units"]], Float[Array, "#batch units"]]
"""What a settler makes of a layer's velocity, from the layer's index and Δz."""


class Sequential(Settler):
    """z^l ← z^l + β Δz^l, one layer after the other."""

    def plain_step(self, network: Network, prepared: Any, latents: Latents) -> Latents:
        """One step of every layer."""
        return sweep(network, latents)


def sweep(network: Network, latents: Latents, steer: Steer = lambda index, dz: dz) -> Latents:
    """Move every layer once, from the bottom up.

    Args:
        network: the network.
        latents: states of layers 0..L; layer 0 stays as it is.
        steer: changes a layer's velocity before the step.
    """
    responses = network.respond(latents)
    for index in range(1, len(latents)):
        layer = network.layers[index]
        velocity = steer(index, network.layer_velocity(index, latents, responses))
        states = layer.hold(latents[index] + layer.step_size * velocity)
        latents = _put(latents, index, states)
        responses = _heard(network, latents, responses, index)
    return latents


def _heard(network: Network, latents: Latents, responses: Responses, index: int) -> Responses:
    """Responses after layer `index` has moved, as far as layers above it hear of them."""
    before = responses.activities[index]
    activity = network.layers[index].activity(latents[index])
    responses = responses._replace(activities=_put(responses.activities, index, activity))
    for connection in network.connections:
        target = connection.target
        highest = max(c.source for c in network.connections if c.target == target)
        if connection.source != index or highest <= index:
            continue
        # The drive is linear in what is sent, so the difference is enough.
        drive = responses.drives[target] + connection.predict(activity - before)
        responses = _compared(network, latents, responses, target, drive)
    return _compared(network, latents, responses, index, responses.drives[index])


def _compared(
    network: Network,
    latents: Latents,
    responses: Responses,
    index: int,
    drive: Float[Array, "#batch units"],
) -> Responses:
    """Responses with the prediction and the error of one layer renewed."""
    prediction = network.layers[index].errors.mean(drive)
    error = network.error(index, latents[index], responses.activities[index], drive)
    return responses._replace(
        drives=_put(responses.drives, index, drive),
        predictions=_put(responses.predictions, index, prediction),
        errors=_put(responses.errors, index, error),
    )


def _put(values: Latents, index: int, value: Float[Array, "#batch units"]) -> Latents:
    return (*values[:index], value, *values[index + 1 :])


SETTLERS.register("sequential", Sequential)
