"""Steps in sequential order: one layer after the other, from the bottom up.

Each layer sees where the layers below have gone, so one step carries news of the data to
the top.  States rest where Euler's steps rest.
"""

from collections.abc import Callable
from typing import Any

from gncn.core.network import Latents, Network, Responses, Units
from gncn.core.settler import SETTLERS, Settler

Steer = Callable[[int, Units], Units]
"""Turns a layer's index and velocity Δz into the velocity that is used."""


class Sequential(Settler):
    """z^l ← z^l + β Δz^l, one layer after the other."""

    def plain_step(self, network: Network, prepared: Any, latents: Latents) -> Latents:
        """One step of every layer."""
        return sweep(network, latents)


def sweep(network: Network, latents: Latents, steer: Steer = lambda index, dz: dz) -> Latents:
    """Move every layer once, from the bottom up; `steer` may change a velocity before the step."""
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
    activities = _put(responses.activities, index, activity)
    drives, changed = responses.drives, {index}
    for connection in network.connections:
        target = connection.target
        # Errors of layers that no higher layer hears of again need no update before the sweep ends.
        highest = max(c.source for c in network.connections if c.target == target)
        if connection.source != index or highest <= index:
            continue
        # The drive is linear in what is sent, so the difference is enough.
        drives = _put(drives, target, drives[target] + connection.predict(activity - before))
        changed.add(target)
    predictions, errors = responses.predictions, responses.errors
    for one in sorted(changed):
        drive = drives[one]
        predictions = _put(predictions, one, network.layers[one].errors.mean(drive))
        errors = _put(errors, one, network.error(one, latents[one], activities[one], drive))
    return Responses(activities, drives, predictions, errors)


def _put(values: Latents, index: int, value: Units) -> Latents:
    return (*values[:index], value, *values[index + 1 :])


SETTLERS.register("sequential", Sequential)
