"""Predictive coding with pcx, for `benchmarks.peers`.

A decoder as in pcx's own tutorials, with linear layers between vodes.  Energies are differentiated
in the states for settling, and in the weights for learning.  All is under one ``pxf.jit``, with
the T steps unrolled, which is faster here than ``pxf.scan``.  States start at zero; energies are
squared errors, and the Bernoulli's for the data.
"""

from importlib.metadata import version
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pcx as px
import pcx.functional as pxf
import pcx.nn as pxnn
import pcx.predictive_coding as pxc
import pcx.utils as pxu
from serving import Task, serve

ACTIVATIONS = {"relu": jax.nn.relu, "leaky_relu": jax.nn.leaky_relu, "tanh": jnp.tanh}
BATCHED = pxu.M(pxc.VodeParam | pxc.VodeParam.Cache)
STATES = pxu.M_hasnot(pxc.VodeParam, frozen=True)


def bernoulli_energy(vode: pxc.Vode, rkg: Any = None) -> jax.Array:
    """-log p(h; logistic(u))."""
    return jax.nn.softplus(vode.get("u")) - vode.get("h") * vode.get("u")


def at_rest(vode: pxc.Vode, key: str, value: jax.Array, rkg: Any) -> jax.Array:
    """Zero, whatever comes from above."""
    return jnp.zeros_like(value)


class Decoder(pxc.EnergyModule):
    """Layers from the top down."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.phi = px.static(ACTIVATIONS[task.activation])
        self.top = px.static(task.sizes[-1])
        down = task.sizes[::-1]
        self.layers = [pxnn.Linear(above, below, bias=False) for above, below in pairwise(down)]
        start: Any = {
            "ruleset": {pxc.STATUS.INIT: ("h, u <- u:rest",)},
            "tforms": {"rest": at_rest},
        }
        self.vodes = [
            pxc.Vode(pxc.zero_energy, **start),
            *(pxc.Vode(pxc.se_energy, **start) for _ in down[1:-1]),
            pxc.Vode(bernoulli_energy),
        ]
        # The data stay clamped while states settle.
        self.vodes[-1].h.frozen = True

    def __call__(self, x: jax.Array | None) -> jax.Array:
        """Predict from the top down; gives the data's logits."""
        h = self.vodes[0](jnp.zeros(self.top.get()))
        for layer, vode in zip(self.layers, self.vodes[1:], strict=True):
            h = vode(layer(self.phi(h)))
        if x is not None:
            self.vodes[-1].set("h", x)
        return self.vodes[-1].get("u")


@pxf.vmap(BATCHED.to([None, 0]), in_axes=0, out_axes=0)
def predict(x: jax.Array, *, model: Decoder) -> jax.Array:
    """Predict, clamping the data to x."""
    return model(x)


@pxf.vmap(BATCHED.to([None, 0]), out_axes=0)
def logits(*, model: Decoder) -> jax.Array:
    """Predict."""
    return model(None)


@pxf.vmap(BATCHED.to([None, 0]), out_axes=None, axis_name="batch")
def energy(*, model: Decoder) -> jax.Array:
    """Energy summed over the batch."""
    model(None)
    return jax.lax.psum(model.energy(), "batch")


def settle(x: jax.Array, n_steps: int, model: Decoder, states: pxu.Optim) -> None:
    """Start at rest and take T steps."""
    with pxu.step(model, (pxc.STATUS.INIT, None), clear_params=pxc.VodeParam.Cache):
        predict(x, model=model)

    down = pxf.value_and_grad(STATES.to([False, True]))(energy)
    # A loop of Python, which is unrolled when it is compiled.
    for _ in range(n_steps):
        with pxu.step(model, clear_params=pxc.VodeParam.Cache):
            _, gradient = down(model=model)
        states.step(model, gradient["model"])


@pxf.jit(static_argnums=0)
def learn(
    n_steps: int, x: jax.Array, *, model: Decoder, states: pxu.Optim, weights: pxu.Optim
) -> None:
    """Settle one mini-batch and learn from it."""
    model.train()
    settle(x.astype(jnp.float32), n_steps, model, states)
    down = pxf.value_and_grad(pxu.M(pxnn.LayerParam).to([False, True]))(energy)
    with pxu.step(model, clear_params=pxc.VodeParam.Cache):
        _, gradient = down(model=model)
    # The energy is a sum over the batch; Adam is given its mean.
    weights.step(model, gradient["model"], scale_by=1 / x.shape[0])


@pxf.jit(static_argnums=0)
def bce(n_steps: int, x: jax.Array, *, model: Decoder, states: pxu.Optim) -> jax.Array:
    """BCE after settling."""
    model.eval()
    x = x.astype(jnp.float32)
    settle(x, n_steps, model, states)
    with pxu.step(model, clear_params=pxc.VodeParam.Cache):
        drive = logits(model=model)
    return jnp.sum(jax.nn.softplus(drive) - x * drive, axis=-1)


class WithPcx:
    """The decoder and its optimisers."""

    def __init__(self, task: Task) -> None:
        px.RKG.seed(task.seed)
        self.task, self.model = task, Decoder(task)
        with pxu.step(self.model, (pxc.STATUS.INIT, None), clear_params=pxc.VodeParam.Cache):
            predict(jnp.zeros((task.batch, task.sizes[0])), model=self.model)
        self.states = pxu.Optim(lambda: optax.sgd(task.step_size), STATES.to(None)(self.model))
        self.learned = pxu.M(pxnn.LayerParam).to(None)
        self.weights = pxu.Optim(lambda: optax.adam(task.rate), self.learned(self.model))
        self.first = self.weights.state.get()
        self.about = {"pcx": version("pcx"), "jax": jax.__version__}
        self.restart()

    def restart(self) -> None:
        """Forget all that was learned."""
        for layer, w in zip(self.model.layers, self.task.first_weights()[::-1], strict=True):
            layer.nn.weight.set(jnp.asarray(w.T))
        self.weights.state.set(self.first)

    def learn(self, images: np.ndarray) -> None:
        """Settle and learn."""
        given = {"model": self.model, "states": self.states, "weights": self.weights}
        for x in images:
            learn(self.task.n_steps, x, **given)
        # JAX returns before it has computed.
        jax.block_until_ready(self.model.layers[-1].nn.weight.get())

    def bce(self, images: np.ndarray) -> np.ndarray:
        """BCE after settling."""
        return np.asarray(bce(self.task.n_steps, images, model=self.model, states=self.states))


if __name__ == "__main__":
    serve(WithPcx)
