"""Using a trained network: reconstruct images, encode them, decode codes.

`gncn.settle` works on one batch and keeps everything.  The functions here take any number
of images, in whatever form (`gncn.base.arrays`), settle them in blocks so that memory stays
bounded, and return NumPy arrays.
"""

from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gncn.base.arrays import as_codes
from gncn.base.errors import ConfigError, check_whole
from gncn.base.progress import advance, shown_progress
from gncn.core.network import Latents, Network
from gncn.core.settling import Settled, settle
from gncn.core.states import as_data, check_network


def _blocks(network: Network, images: Any, batch_size: int) -> Iterator[Settled]:
    """Settle block by block; only what the caller takes from a block stays in memory."""
    # All images are checked before the first settles.
    values = as_data(network, images)
    check_whole("batch_size", batch_size, least=1)
    for first in range(0, len(values), batch_size):
        yield settle(network, values[first : first + batch_size])
        advance(min(first + batch_size, len(values)), len(values))


def reconstruct(
    network: Network, images: Any, *, batch_size: int = 500, progress: bool = False
) -> Float[np.ndarray, "images pixels"]:
    """The network's predictions z̄^0 of images, after settling on them.

    Args:
        network: as `gncn.build` makes it, trained or not.
        images: any number, of any kind; values in [0, 1] for a Bernoulli output.
        batch_size: images settled at once.
        progress: draw a bar, in a terminal or a notebook.

    Returns:
        For binary data each pixel's probability of being 1.

    Raises:
        ConfigError: `batch_size` is below 1.
        DataError: the images can't be data of the network; see `as_data`.
    """
    with shown_progress(progress, "settling on images"):
        settled = _blocks(network, images, batch_size)
        return np.concatenate([np.asarray(block.reconstruction) for block in settled])


def encode(
    network: Network,
    images: Any,
    *,
    layer: int | None = None,
    activities: bool = False,
    batch_size: int = 500,
    progress: bool = False,
) -> Float[np.ndarray, "images units"]:
    """The settled states z^l of a layer, or the activities φ(z^l), as codes of images.

    Args:
        network: as `gncn.build` makes it, trained or not.
        images: any number, of any kind; values in [0, 1] for a Bernoulli output.
        layer: which layer, 1..L; by default the top.
        activities: return φ(z) instead of z.
        batch_size: images settled at once.
        progress: draw a bar, in a terminal or a notebook.

    Raises:
        ConfigError: there is no such latent layer, or `batch_size` is below 1.
        DataError: the images can't be data of the network; see `as_data`.
    """
    top = check_network(network).circuit.n_latent
    chosen = top if layer is None else layer
    check_whole("layer", chosen, least=0)
    if not 1 <= chosen <= top:
        raise ConfigError(f"layer must be from 1 to {top}, the latent layers; received {layer}.")
    with shown_progress(progress, "settling on images"):
        settled = _blocks(network, images, batch_size)
        field = (block.responses.activities if activities else block.latents for block in settled)
        return np.concatenate([np.asarray(layers[chosen]) for layers in field])


def encode_layers(
    network: Network, images: Any, *, batch_size: int = 500
) -> list[Float[np.ndarray, "images _units"]]:
    """The settled states z^1..z^L of images, from settling once; see `encode`."""
    settled = _blocks(network, images, batch_size)
    kept = [[np.asarray(z) for z in block.latents[1:]] for block in settled]
    return [np.concatenate(parts) for parts in zip(*kept, strict=True)]


def descend(network: Network, codes: Float[Array, "codes units"]) -> Latents:
    """Go down from states of the top layer alone, each layer set to its prediction (Eq 5).

    z^l = g^l(W^l φ(z^{l+1})) down to layer 1.  Where errors compare activities, a layer
    is predicted as an activity, so the prediction itself is sent on; otherwise φ is
    applied to it first.

    Returns:
        At index 0 the input to g^0 for each pixel (for binary data, the logit of its
        probability), then the states of layers 1..L.

    Raises:
        ConfigError: the top layer isn't the only one that nothing predicts.
    """
    circuit, top = network.circuit, network.circuit.n_latent
    # If nothing predicts two layers, the top alone does not determine the states below.
    if circuit.predicted != tuple(range(top)):
        raise ConfigError(
            f"Going down starts from one top layer, {top}; here layers "
            f"{sorted(set(range(top + 1)) - set(circuit.predicted))} have no prediction."
        )
    sent = {top: network.layers[top].activity(codes)}
    states = {top: codes}
    for index in reversed(range(1, top)):
        layer = network.layers[index]
        states[index] = layer.errors.mean(network.drive(index, sent))
        predicted_as_activity = layer.compared == "activity"
        sent[index] = states[index] if predicted_as_activity else layer.activity(states[index])
    # The drive and not the mean: log p(x) needs logits.
    return (network.drive(0, sent), *(states[index] for index in range(1, top + 1)))


def decode(network: Network, codes: Any) -> Float[Array, "codes pixels"]:
    """The pixels that states of the top layer predict, as input to g^0; see `descend`.

    Raises:
        DataError: the codes are not one row of finite numbers for each image, as wide as the top
            layer.
    """
    rows = as_codes(codes, check_network(network).circuit.sizes[-1])
    return descend(network, jnp.asarray(rows))[0]
