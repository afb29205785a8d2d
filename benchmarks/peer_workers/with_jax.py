"""Predictive coding as a plain jitted JAX loop, for `benchmarks.peers`.

No library but Optax: ψ ascended in the states by a scan of T steps, then in the weights
by Adam.  Feedback is the transpose of W, with or without the derivative of φ.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from serving import Task, serve

ACTIVATIONS = {"relu": jax.nn.relu, "leaky_relu": jax.nn.leaky_relu, "tanh": jnp.tanh}
Arrays = list[jax.Array]


class Plain:
    """The loop."""

    def __init__(self, task: Task) -> None:
        self.task, self.phi = task, ACTIVATIONS[task.activation]
        self.optimiser = optax.adam(task.rate)
        self.about = {"jax": jax.__version__, "optax": optax.__version__}
        self.restart()

    def restart(self) -> None:
        """Forget all that was learned."""
        self.weights: Any = [jnp.asarray(w) for w in self.task.first_weights()]
        self.state: Any = self.optimiser.init(self.weights)

    def learn(self, images: np.ndarray) -> None:
        """Settle and learn."""
        for x in images:
            self.weights, self.state = self._learn(self.weights, self.state, x)
        # JAX returns before it has computed.
        jax.block_until_ready(self.weights)

    def bce(self, images: np.ndarray) -> np.ndarray:
        """BCE after settling."""
        return np.asarray(self._bce(self.weights, images))

    def _respond(self, weights: Arrays, states: Arrays) -> tuple[Arrays, Arrays, jax.Array]:
        active = [self.phi(z) for z in states[1:]]
        drives = [a @ w for a, w in zip(active, weights, strict=True)]
        predictions = [jax.nn.sigmoid(drives[0]), *drives[1:]]
        errors = [z - p for z, p in zip(states, predictions, strict=False)]
        return active, errors, drives[0]

    def _settle(self, weights: Arrays, x: jax.Array) -> Arrays:
        def step(states: Arrays, nothing: None) -> tuple[Arrays, None]:
            _, errors, _ = self._respond(weights, states)
            # Layer l hears the errors of the layer below and its own; nothing predicts the top.
            below, own = errors, [*errors[1:], 0.0]
            moved = [states[0]]
            for w, e, mine, z in zip(weights, below, own, states[1:], strict=True):
                message = e @ w.T
                if self.task.options["derivative"]:
                    message = jax.vjp(self.phi, z)[1](message)[0]
                moved.append(z + self.task.step_size * (message - mine))
            return moved, nothing

        zeros = [jnp.zeros((x.shape[0], size)) for size in self.task.sizes[1:]]
        return jax.lax.scan(step, [x, *zeros], None, length=self.task.n_steps)[0]

    @partial(jax.jit, static_argnums=0)
    def _learn(self, weights: Arrays, state: Any, x: jax.Array) -> tuple[Any, Any]:
        x = x.astype(jnp.float32)
        active, errors, _ = self._respond(weights, self._settle(weights, x))
        # Optax descends, and ψ is ascended.
        down = [-a.T @ e / x.shape[0] for a, e in zip(active, errors, strict=True)]
        steps, state = self.optimiser.update(down, state)
        return optax.apply_updates(weights, steps), state

    @partial(jax.jit, static_argnums=0)
    def _bce(self, weights: Arrays, x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32)
        _, _, drive = self._respond(weights, self._settle(weights, x))
        return jnp.sum(jax.nn.softplus(drive) - x * drive, axis=-1)


if __name__ == "__main__":
    serve(Plain)
