"""Networks of which the states at rest can be found by linear equations, for tests of settlers."""

import jax.numpy as jnp
import numpy as np

import gncn
from oracle import Oracle


def images(n, pixels=6):
    return jnp.asarray(np.random.default_rng(2).integers(0, 2, (n, pixels)), jnp.float32)


def converging(circuit):
    """The circuit of two latent layers with a connection from the top to the data, too."""
    skip = gncn.Dense(source=2, target=0, feedback=circuit.connections[0].feedback)
    return circuit.model_copy(update={"connections": (*circuit.connections, skip)})


def linear(seed=0, skip=False, **options):
    """A network whose Δz is linear in z: settling is the solution of linear equations."""
    circuit = gncn.chain(
        (6, 5, 4),
        activation="identity",
        prediction_activation="identity",
        likelihood="gaussian",
        feedback="tied",
        precision="diagonal",
    )
    circuit = converging(circuit) if skip else circuit
    numbers = {"weight_scale": 0.6, "leak": 0.1, "initial_precision": 0.7, "step_size": 0.1}
    return gncn.build(circuit, seed=seed, **{**numbers, **options})


def solution(network, x):
    """States at which Δz = 0, from Δz = A z + b with A and b taken column by column."""
    oracle = Oracle(network)
    sizes = network.circuit.sizes[1:]

    def change(image, flat):
        z = [np.asarray(image, float), *np.split(flat, np.cumsum(sizes)[:-1])]
        h, zbar = oracle.predictions(z)
        e = oracle.errors(z, zbar)
        return np.concatenate([oracle.change(layer, z, h, e) for layer in (1, 2)])

    found = []
    for image in np.asarray(x):
        b = change(image, np.zeros(sum(sizes)))
        matrix = np.stack([change(image, unit) - b for unit in np.eye(sum(sizes))], axis=1)
        found.append(np.linalg.solve(matrix, -b))
    return np.array(found)


def together(latents):
    return np.concatenate([np.asarray(z) for z in latents[1:]], axis=1)
