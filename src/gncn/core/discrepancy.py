"""Predictions, errors and total discrepancy ψ (Eqs 1, 5, 6, 13 and 14).

Each layer is predicted from the layers above it, z̄^l = g^l(W^l φ(z^{l+1})), and
compared with what it is: d^l = z^l − z̄^l, or φ(z^l) − z̄^l if the circuit compares
activities.  Error neurons weigh the deviation by the precision, e^l = Σ⁻¹ d^l; for
Bernoulli data e^0 = x − z̄^0, the deviation times the logistic's derivative.

ψ is the complete-data log-likelihood up to a constant, so higher is better:

    ψ = log Bernoulli(x; z̄^0) + Σ_l [½ log|Σ⁻¹| − ½ d^T Σ⁻¹ d]

(Eq 6 prints −½ log|Σ⁻¹|; its derivative, Eq 7, shows that + is meant).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from gncn.core.activations import resolve_activation
from gncn.core.network import Network, Operands, operands, product

Latents = tuple[Float[Array, "#batch _units"], ...]
"""States z^0 (the data), z^1, ..., z^L; arrays of shape (batch, J_l), or (1, J_l) where a layer's
states are the same for all images."""

ByLayer = tuple[Float[Array, "#batch _units"] | None, ...]
"""One array of the shape of its states for each of the layers 0..L, or None for a layer."""


class Responses(NamedTuple):
    """What all neurons do, given the states.

    Every field has one entry for each of the layers 0..L, of shape (batch, J_l), and
    None where a layer has no such neurons (the data send nothing, the top is not
    predicted).

    Attributes:
        activities: φ^l(z^l).
        drives: h^l = Σ W φ(z), the input to g^l.
        predictions: z̄^l = g^l(h^l).
        errors: e^l, weighted by the precision.
        deviations: d^l, not weighted.
    """

    activities: ByLayer
    drives: ByLayer
    predictions: ByLayer
    errors: ByLayer
    deviations: ByLayer


class Discrepancy(NamedTuple):
    """Total discrepancy ψ (Eq 6) of each image, in nats.

    Attributes:
        total: ψ, shape (batch,).
        layers: the terms of the predicted layers in ascending order, shape
            (batch, predicted); they add up to `total`.
    """

    total: Float[Array, " batch"]
    layers: Float[Array, "batch predicted"]


def activities(network: Network, latents: Latents) -> ByLayer:
    """φ^l(z^l) of the latent layers; None for layer 0."""
    sent: list[Float[Array, "batch _units"] | None] = [None]
    for layer, states in zip(network.circuit.layers[1:], latents[1:], strict=True):
        sent.append(resolve_activation(layer.activation, layer.winners)(states))
    return tuple(sent)


def respond(network: Network, latents: Latents, right: Operands | None = None) -> Responses:
    """Compute activities, predictions and errors of all layers from their states.

    Args:
        network: the network.
        latents: states of layers 0..L; layer 0 holds the data.
        right: the synapses as products take them; by default in single precision.
    """
    circuit = network.circuit
    right = operands(network) if right is None else right
    sent = activities(network, latents)
    none: list[Float[Array, "batch _units"] | None] = [None] * len(circuit.layers)
    drives = list(none)
    for weights, connection in zip(right.forward, circuit.connections, strict=True):
        source = sent[connection.source]
        assert source is not None
        drive = product(source, weights.matrix)
        earlier = drives[connection.target]
        drives[connection.target] = drive if earlier is None else earlier + drive
    responses = Responses(sent, tuple(drives), tuple(none), tuple(none), tuple(none))
    for index in circuit.predicted:
        responses = _predict(network, responses, index)
        responses = _compare(network, latents, responses, right, index)
    return responses


def compare(
    network: Network,
    latents: Latents,
    responses: Responses,
    right: Operands,
    index: int,
    heard: Bool[Array, "*batch pixels"] | None = None,
) -> Responses:
    """Responses after one layer's states have changed, as far as layers above it hear of them.

    Args:
        network: the network.
        latents: states of layers 0..L, that of layer `index` new.
        responses: to the states before.
        right: the synapses as products take them.
        index: the latent layer that moved.
        heard: pixels that send their errors up; all of them if None.

    Returns:
        Responses with the layer's activity, deviation and error renewed, and all that is
        predicted of those layers that some layer above predicts, too.
    """
    circuit = network.circuit
    layer, before = circuit.layers[index], responses.activities[index]
    assert before is not None
    activity = resolve_activation(layer.activation, layer.winners)(latents[index])
    responses = responses._replace(activities=_put(responses.activities, index, activity))
    for weights, connection in zip(right.forward, circuit.connections, strict=True):
        target = connection.target
        sources = [c.source for c in circuit.connections if c.target == target]
        if connection.source != index or max(sources) <= index:
            continue
        drive = responses.drives[target]
        assert drive is not None
        drive = drive + product(activity - before, weights.matrix)
        responses = responses._replace(drives=_put(responses.drives, target, drive))
        responses = _compare(network, latents, _predict(network, responses, target), right, target)
        if target == 0:
            responses = hear(responses, heard)
    if index not in circuit.predicted:
        return responses
    return _compare(network, latents, responses, right, index)


def hear(responses: Responses, heard: Bool[Array, "*batch pixels"] | None) -> Responses:
    """Responses in which only the pixels that are `heard` send errors up; all of them if None."""
    if heard is None:
        return responses
    error = responses.errors[0]
    assert error is not None
    return responses._replace(errors=_put(responses.errors, 0, error * heard))


def _predict(network: Network, responses: Responses, index: int) -> Responses:
    """The prediction of one layer from its drive (Eq 5)."""
    layer, drive = network.circuit.layers[index], responses.drives[index]
    assert drive is not None
    prediction = resolve_activation(layer.prediction_activation, layer.winners)(drive)
    return responses._replace(predictions=_put(responses.predictions, index, prediction))


def _compare(
    network: Network, latents: Latents, responses: Responses, right: Operands, index: int
) -> Responses:
    """Deviation and error of one layer from its states, activity and prediction."""
    by_activity = network.circuit.compared == "activity" and index > 0
    actual = responses.activities[index] if by_activity else latents[index]
    predicted = responses.predictions[index]
    assert actual is not None
    assert predicted is not None
    deviation = actual - predicted
    diagonal = right.precision[index] if right.precision else None
    precision = network.precision[index]
    error = weigh(precision, deviation) if diagonal is None else deviation * diagonal
    return responses._replace(
        deviations=_put(responses.deviations, index, deviation),
        errors=_put(responses.errors, index, error),
    )


def _put(values: ByLayer, index: int, value: Float[Array, "#batch units"]) -> ByLayer:
    return (*values[:index], value, *values[index + 1 :])


def weigh(
    precision: Float[Array, "units units"] | Float[Array, " units"] | None,
    deviation: Float[Array, "batch units"],
) -> Float[Array, "batch units"]:
    """Multiply a deviation by Σ⁻¹, be it absent, diagonal or full (Eq 1)."""
    if precision is None:
        return deviation
    if precision.ndim == 1:
        return deviation * precision[None, :]
    return deviation @ precision.T


def discrepancy(network: Network, latents: Latents, responses: Responses) -> Discrepancy:
    """Total discrepancy ψ (Eq 6), whole and by layer.

    Gaussian layers leave out the constant −½ J log 2π, as Eq 6 does.

    Args:
        network: the network.
        latents: states of layers 0..L.
        responses: `respond` of the same states.
    """
    terms = []
    for index in network.circuit.predicted:
        if network.circuit.layers[index].distribution == "bernoulli":
            drive = responses.drives[index]
            assert drive is not None
            terms.append(-binary_cross_entropy(latents[index], drive))
        else:
            deviation, error = responses.deviations[index], responses.errors[index]
            assert deviation is not None
            assert error is not None
            log_determinant = _log_determinant(network.precision[index])
            terms.append(0.5 * log_determinant - 0.5 * jnp.sum(deviation * error, axis=-1))
    layers = jnp.stack(terms, axis=-1)
    return Discrepancy(jnp.sum(layers, axis=-1), layers)


def total_discrepancy(network: Network, latents: Latents) -> Discrepancy:
    """ψ (Eq 6) as a function of the states alone; see `discrepancy`."""
    return discrepancy(network, latents, respond(network, latents))


def binary_cross_entropy(
    x: Float[Array, "batch pixels"], logits: Float[Array, "batch pixels"]
) -> Float[Array, " batch"]:
    """−Σ_d [x log x̂ + (1−x) log(1−x̂)] of each image in nats, x̂ = logistic(logits).

    Computed from the logits, so that it stays finite however sure the network is.
    """
    return jnp.sum(jax.nn.softplus(logits) - x * logits, axis=-1)


def _log_determinant(
    precision: Float[Array, "units units"] | Float[Array, " units"] | None,
) -> Float[Array, ""]:
    if precision is None:
        return jnp.zeros(())
    if precision.ndim == 1:
        return jnp.sum(jnp.log(precision))
    return 2 * jnp.sum(jnp.log(jnp.diagonal(jnp.linalg.cholesky(precision))))
