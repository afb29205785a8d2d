"""The network: populations of neurons, the synapses between them, and what they do.

A `Network` is a pytree.  Its leaves are the synapses and the numbers that govern settling.  So
several networks of one circuit can be stacked and run by one compiled program.

======================  ==================================================================
symbol                  where it stands
======================  ==================================================================
z^l                     ``latents[l]``, shape (batch, J_l); z^0 is the data
φ^l(z^l)                ``network.layers[l].activity(z)``
h^l, z̄^l (Eqs 1, 5)     ``responses.drives[l]``, ``responses.predictions[l]``
e^l (Eqs 1, 13, 14)     ``responses.errors[l]``, by ``network.layers[l].errors``
W^l, E^l (Eqs 2, 19)    ``network.connections[k].forward``, ``.feedback.weights``
(Σ^l)⁻¹ (Eqs 1, 7)      ``network.layers[l].errors.precision``
b^l (not the paper's)   ``network.layers[l].bias.values``, where a layer has a bias
V^l (appendix)          ``network.layers[l].layer.competition`` with α_e, α_h of the layer
β, γ, α_e, α_h          ``network.layers[l].step_size``, ``.leak``, ``.self_excitation``, ...
======================  ==================================================================
"""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from gncn.core.bias import Bias
from gncn.core.circuit import Circuit, Compared, Layer
from gncn.core.connections.base import Synapses
from gncn.core.likelihood import ErrorNeurons
from gncn.core.picture import between, named, words
from gncn.core.precision import Units
from gncn.core.products import Products
from gncn.core.settler import Latents, Settler


class Responses(NamedTuple):
    """The activity of all neurons, given the states: for each layer an array of shape (batch, J_l).

    Attributes:
        activities: φ^l(z^l); of the data, the data.
        drives: h^l = Σ W φ(z) + b, the input to g^l; zero for layers that nothing predicts.
        predictions: z̄^l = g^l(h^l); zero there, too.
        errors: e^l, weighted by the precision; zero there, too.
    """

    activities: Latents
    drives: Latents
    predictions: Latents
    errors: Latents


class Population(eqx.Module):
    """The neurons of one layer.

    Attributes:
        layer: their description.
        errors: their error neurons, with Σ⁻¹.
        bias: what is added to their drive.
        step_size, leak, self_excitation, lateral_inhibition: β, γ, α_e, α_h.
        compared: what is compared with the prediction, ``state`` or ``activity``.
        competing: what lateral synapses carry, ``state`` or ``activity``.
    """

    layer: Layer = eqx.field(static=True)
    errors: ErrorNeurons
    bias: Bias
    step_size: Float[Array, "*trials"]
    leak: Float[Array, "*trials"]
    self_excitation: Float[Array, "*trials"]
    lateral_inhibition: Float[Array, "*trials"]
    compared: Compared = eqx.field(static=True)
    competing: Compared = eqx.field(static=True)

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.layer.size

    def activity(self, states: Units) -> Units:
        """φ(z)."""
        return self.layer.phi(states)

    def actual(self, states: Units, activity: Units) -> Units:
        """The value that is compared with the prediction: z or φ(z)."""
        return activity if self.compared == "activity" else states

    def lateral_drive(self, states: Units, activity: Units, products: Products) -> Units:
        """V z, or V φ(z) (Eq 3)."""
        signal = activity if self.competing == "activity" else states
        return self.layer.competition.drive(
            signal, self.self_excitation, self.lateral_inhibition, products
        )

    def gate(self, states: Units, message: Units) -> Units:
        """φ'(z) ⊙ message, for exact feedback."""
        # φ need not work on each neuron alone (`KWinners`), so its whole Jacobian is transposed.
        return jax.vjp(self.layer.phi, states)[1](message)[0]

    def hold(self, states: Units) -> Units:
        """The states at or above zero, if the layer asks for it."""
        return jax.nn.relu(states) if self.layer.non_negative else states


class Network(eqx.Module):
    """A generative neural coding network (GNCN); the module's docstring maps the symbols.

    Its layers are 0..L; its connections stand in the circuit's order.  Its methods call one another
    as functions: Equinox looks at a whole network to bind a method, and does so for every layer.
    """

    circuit: Circuit = eqx.field(static=True)
    settler: Settler = eqx.field(static=True)
    layers: tuple[Population, ...]
    connections: tuple[Synapses, ...]

    def __str__(self) -> str:
        settler, layers = self.settler, self.layers[1:]
        numbers = {"β": "step_size", "γ": "leak"}
        if self.circuit.competes:
            numbers |= {"α_e": "self_excitation", "α_h": "lateral_inhibition"}
        each = (
            f"{sign} {between(getattr(one, n) for one in layers)}" for sign, n in numbers.items()
        )
        name = named("settler", settler, but="n_settle_steps")
        how = f"settling: {name}, T {settler.n_settle_steps}, {', '.join(each)}"
        return f"Network of {words(self.circuit, how)}"

    def _repr_svg_(self) -> str:
        return self.circuit.svg()

    def replaced(
        self,
        *,
        errors: Iterable[ErrorNeurons] | None = None,
        biases: Iterable[Bias] | None = None,
        connections: Iterable[Synapses] | None = None,
    ) -> "Network":
        """The same network with other error neurons or biases of its layers, or other synapses."""
        layers, synapses = self.layers, self.connections
        for name, parts in (("errors", errors), ("bias", biases)):
            if parts is not None:
                pairs = zip(layers, parts, strict=True)
                layers = tuple(dataclasses.replace(layer, **{name: own}) for layer, own in pairs)
        if connections is not None:
            synapses = tuple(connections)
        return dataclasses.replace(self, layers=layers, connections=synapses)

    def respond(self, latents: Latents) -> Responses:
        """Predictions z̄^l = g^l(Σ W φ(z) + b) and errors e^l of all layers (Eqs 1, 5, 13, 14)."""
        indices = range(len(latents))
        # Layer 0 is the data: it has no φ.
        sent = tuple(self.layers[i].activity(latents[i]) if i > 0 else latents[0] for i in indices)
        drives = tuple(type(self).drive(self, i, sent) for i in indices)
        predictions = tuple(self.layers[i].errors.mean(drives[i]) for i in indices)
        errors = tuple(type(self).error(self, i, latents[i], sent[i], drives[i]) for i in indices)
        return Responses(sent, drives, predictions, errors)

    def drive(self, index: int, sent: Latents | Mapping[int, Any]) -> Units:
        """The drive h of one layer: its bias, and what connections predict from what layers send.

        It is zero for a layer that nothing predicts.
        """
        # Connections add up before g, so that several layers can predict one.
        arriving = [c.predict(sent[c.source]) for c in self.connections if c.target == index]
        if not arriving:
            return jnp.zeros_like(sent[index])
        return self.layers[index].bias.added(sum(arriving[1:], start=arriving[0]))

    def error(self, index: int, states: Units, activity: Units, drive: Units) -> Units:
        """The error e of one layer (Eqs 1, 13, 14)."""
        layer = self.layers[index]
        return layer.errors.error(layer.actual(states, activity), drive)

    def velocity(self, latents: Latents, responses: Responses | None = None) -> Latents:
        """Δz^1..Δz^L, the direction in which each latent state moves (Eqs 3, 15, 16).

        If `responses` are given, they must be `respond` of the same states.
        """
        heard = self.respond(latents) if responses is None else responses
        indices = range(1, len(latents))
        return tuple(type(self).layer_velocity(self, i, latents, heard) for i in indices)

    def moved(self, latents: Latents, velocity: Latents) -> Latents:
        """z^l + β Δz^l, held at or above zero where the layer asks for it (Eq 2)."""
        triples = zip(self.layers[1:], latents[1:], velocity, strict=True)
        # The data are clamped.
        return (latents[0], *(layer.hold(z + layer.step_size * v) for layer, z, v in triples))

    def layer_velocity(self, index: int, latents: Latents, responses: Responses) -> Units:
        """Δz^l = E^l e^{l-1} − e^l − V^l z^l − γ z^l of one layer (Eqs 3, 15, 16)."""
        layer, states, activity = self.layers[index], latents[index], responses.activities[index]
        leaving = [c for c in self.connections if c.source == index]
        sent_up = type(self).sent_up
        messages = [c.send_up(sent_up(self, c.target, latents, responses)) for c in leaving]
        change = sum(messages[1:], start=messages[0])
        if not self.circuit.exact:
            change = change - responses.errors[index]
        elif layer.compared == "activity":  # ψ depends on z through φ alone
            change = layer.gate(states, change - responses.errors[index])
        else:
            # z itself is compared, so −e is a derivative by z; only the message passes through φ.
            change = layer.gate(states, change) - responses.errors[index]
        change = change - layer.lateral_drive(states, activity, self.settler.products)
        return change - layer.leak * states

    def sent_up(self, index: int, latents: Latents, responses: Responses) -> Units:
        """The errors that one layer sends along connections: e, or g' ⊙ e if exact."""
        if not self.circuit.exact:
            return responses.errors[index]
        layer = self.layers[index]
        actual = layer.actual(latents[index], responses.activities[index])
        return layer.errors.gradient(actual, responses.drives[index])
