"""`probe`: what parts from outside the library return, looked at before a network is used."""

from functools import partial
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from gncn.core.competition import Competition
from gncn.core.connections.base import Synapses
from gncn.core.fast import Prepared, for_batch, prepare
from gncn.core.likelihood import ErrorNeurons
from gncn.core.network import Latents, Network
from gncn.core.products import Products
from gncn.core.returned import BATCHES, array_of, check_returned, is_own
from gncn.core.settler import Settler

_NUMBER, _BOUNDS = array_of(), (0.1, 10.0)


def probe(network: Network) -> None:
    """Refuse parts that return something else than they must.

    Raises:
        ConfigError: names the part, its method, what it must return and what it gave.
    """
    circuit, products = network.circuit, network.settler.products
    competitions = {(layer.competition, layer.size) for layer in circuit.layers}
    for competition, size in competitions:
        if not is_own(type(competition)):
            _probe_competition(competition, size, products)
    likelihoods = {
        (layer.likelihood, layer.size, layer.prediction_activation): network.layers[index].errors
        # Equal layers are looked at once; these three decide what they return.
        for index, layer in enumerate(circuit.layers)
        if index in circuit.predicted and not is_own(type(layer.likelihood))
    }
    for (_, size, _), errors in likelihoods.items():
        _probe_errors(errors, size)
    joined: dict[Any, Any] = {}
    for description, synapses in zip(circuit.connections, network.connections, strict=True):
        if not is_own(type(description)):
            sizes = circuit.sizes[description.source], circuit.sizes[description.target]
            # Source and target don't change what a connection returns, so equal ones are looked at
            # once.
            place = {"source": 1, "target": 0}
            joined.setdefault((description.model_copy(update=place), *sizes), synapses)
    for (_, n_source, n_target), synapses in joined.items():
        _probe_synapses(synapses, n_source, n_target, products)
    if not is_own(type(network.settler)):
        for n_images in BATCHES:
            _probe_settler(network.settler, network, n_images)


def _named(kind: str, part: Any) -> str:
    return f"The {kind} {type(part).__name__}"


def _probe_competition(competition: Competition, size: int, products: Products) -> None:
    what = _named("competition", competition)
    for n_images in BATCHES:
        signal = array_of(n_images, size)
        check_returned(f"{what}.rival_sum", signal, competition.rival_sum, signal, products)
        strengths = (_NUMBER, _NUMBER)
        check_returned(f"{what}.drive", signal, competition.drive, signal, *strengths, products)
    check_returned(f"{what}.bound", array_of(size, size), competition.bound, size)


def _probe_errors(errors: ErrorNeurons, size: int) -> None:
    what, itself = _named("likelihood's", errors), eqx.filter_eval_shape(lambda: errors)
    for n_images in BATCHES:
        units, nats = array_of(n_images, size), array_of(n_images)
        check_returned(f"{what}.mean", units, errors.mean, units)
        # Settling uses the errors as laid out for a batch, learning the plain ones.
        laid = errors.for_batch(n_images)
        check_returned(f"{what}.error", units, laid.error, units, units)
        check_returned(f"{what}.log_prob", nats, laid.log_prob, units, units)
        check_returned(f"{what}.gradient", units, laid.gradient, units, units)
        update = check_returned(f"{what}.update", ..., errors.update, units, units, nats)
        check_returned(f"{what}.learned", itself, errors.learned, update, _NUMBER, _BOUNDS)


def _probe_synapses(synapses: Synapses, n_source: int, n_target: int, products: Products) -> None:
    # Settling uses laid-out synapses, learning the stored ones.
    what, laid = _named("connection's", synapses), synapses.laid_out(products)
    itself, plastic = eqx.filter_eval_shape(lambda: (synapses, synapses.plastic))
    for n_images in BATCHES:
        sent, error = array_of(n_images, n_source), array_of(n_images, n_target)
        check_returned(f"{what}.predict", error, laid.predict, sent)
        check_returned(f"{what}.send_up", sent, laid.send_up, error)
        check_returned(f"{what}.update", plastic, synapses.update, error, sent)
    check_returned(f"{what}.learned", itself, synapses.learned, plastic, _NUMBER, _NUMBER)


def _probe_settler(settler: Settler, network: Network, n_images: int) -> None:
    def laid_out(own: Network) -> Prepared:
        return for_batch(prepare(own), n_images)

    def begun(own: Network, states: Latents) -> Any:
        # A memory may hold numbers of Python, which loops turn into arrays.
        return jax.tree.map(jnp.asarray, settler.init(own, states))

    def stepped(*of: Any) -> Any:
        return jax.tree.map(jnp.asarray, settler.step(*of))

    what = _named("settler", settler)
    states = tuple(array_of(n_images, size) for size in network.circuit.sizes)
    # Anything may be prepared or remembered, but a step must return what it was given.
    ready = check_returned(f"{what}.prepare", ..., laid_out, network, given="the network")
    check = partial(check_returned, given=states)
    memory = check(f"{what}.init", ..., begun, ready.network, states)
    check(f"{what}.plain_step", states, settler.plain_step, *ready, states)
    both = (states, memory)
    check(f"{what}.step", both, stepped, *ready, *both, given=both)
