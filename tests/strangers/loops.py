"""The paper's recipe for a chain as plain loops over neurons, from its equations alone."""

import numpy as np


def times(matrix, vector):
    """A matrix times a vector, entry by entry."""
    rows, columns = np.shape(matrix)
    return np.array([sum(matrix[i, j] * vector[j] for j in range(columns)) for i in range(rows)])


def respond(x, states, W):
    """Activities φ = relu and errors e of one binary image's chain (Eqs 1, 5 and 15)."""
    sent = [np.array([max(v, 0.0) for v in z]) for z in states]
    below = [x, *states[:-1]]
    drives = [times(w, a) for w, a in zip(W, sent, strict=True)]
    means = [1 / (1 + np.exp(-drives[0])), *drives[1:]]
    return sent, [z - mean for z, mean in zip(below, means, strict=True)]


def settle(x, W, E, V, *, step_size, leak, n_steps):
    """The latent states after `n_steps` from 0, and their responses (Eqs 2 and 3).

    Args:
        x: one image.
        W: W^1..W^L, each of shape (below, above).
        E: E^1..E^L, each of shape (above, below).
        V: V^1..V^L.
        step_size: β.
        leak: γ.
        n_steps: T.
    """
    states = [np.zeros(w.shape[1]) for w in W]
    for _ in range(n_steps):
        _, errors = respond(x, states, W)
        own = [*errors[1:], np.zeros_like(states[-1])]
        states = [
            z + step_size * (times(e, below) - error - times(v, z) - leak * z)
            for z, e, v, below, error in zip(states, E, V, errors, own, strict=True)
        ]
    return states, *respond(x, states, W)
