"""This library, for `benchmarks.peers`: a preset with values overridden."""

from dataclasses import replace
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from serving import Task, serve

import gncn
from gncn.training.epochs import run_epoch, unstack
from gncn.training.examples import hold
from gncn.training.hebbian import Hebbian, reconstruction_error


@eqx.filter_jit
def bce(network: gncn.Network, x: jax.Array, n_steps: int) -> jax.Array:
    """BCE after settling."""
    x = x.astype(jnp.float32)
    return reconstruction_error(network, gncn.settle(network, x, n_settle_steps=n_steps))


class WithGncn:
    """A network in training."""

    def __init__(self, task: Task) -> None:
        given = {"training.learning_rate": task.rate, "settling.step_size": task.step_size}
        overrides = [
            f"network.sizes={task.sizes[1:]}",
            f"training.batch_size={task.batch}",
            f"training.n_epochs={task.n_chunks}",  # a chunk takes the place of an epoch
            f"seed={task.seed}",
            *(f"{name}={value}" for name, value in given.items() if value is not None),
            *task.options["overrides"],
        ]
        self.task = task
        self.config = gncn.load_config(preset=task.options["preset"], overrides=overrides)
        self.method = Hebbian(self.config.training.without_rates(), task.batch)
        self.rates = jax.tree.map(lambda rate: rate[None], self.config.training.rates())
        self.about = {"gncn": gncn.__version__, "jax": jax.__version__}
        self.bce_of = partial(bce, n_steps=task.n_steps)
        self.restart()

    def restart(self) -> None:
        """Forget all that was learned."""
        circuit, settling = self.config.network.circuit(self.task.sizes[0]), self.config.settling
        networks = [gncn.build(circuit, seed=s, **dict(settling)) for s in self.config.seeds]
        self.state = self.method.start(networks, self.config.seeds)

    def learn(self, images: np.ndarray) -> None:
        """Settle and learn."""
        chunk = jax.device_put(hold(images.reshape(-1, images.shape[-1])))
        method = replace(self.method, n_images=len(chunk))
        self.state, _ = run_epoch(self.state, chunk, method, self.rates, chunk=method.n_batches)
        jax.block_until_ready(self.state.network)

    def bce(self, images: np.ndarray) -> np.ndarray:
        """BCE after settling."""
        return np.asarray(self.bce_of(unstack(self.state.network)[0], jnp.asarray(images)))


if __name__ == "__main__":
    serve(WithGncn)
