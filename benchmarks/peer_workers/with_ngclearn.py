"""Predictive coding with ngc-learn 3, for `benchmarks.peers`.

Rate cells, error cells and Hebbian synapses wired as in ngc-learn's museum of models;
error synapses are kept the transpose of the predictive ones.  The compiled processes,
``process.run.compiled``, are pure functions of the state.  One ``jax.jit`` a mini-batch joins
them, with the T steps as a scan.  That is faster than running one after another.
"""

from functools import partial
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import random
from ngclearn import Context, MethodProcess
from ngclearn.components import (
    BernoulliErrorCell,
    GaussianErrorCell,
    HebbianSynapse,
    RateCell,
    StaticSynapse,
)
from ngclearn.utils.distribution_generator import DistributionGenerator
from ngcsimlib.global_state import stateManager
from serving import Task, serve

ACTIVATIONS = {"relu": "relu", "leaky_relu": "lrelu", "tanh": "tanh"}


class WithNgclearn:
    """The circuit and its processes."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.about = {"ngclearn": version("ngclearn"), "jax": jax.__version__}
        keys = random.split(random.key(task.seed), 2 * len(task.sizes))
        init = DistributionGenerator.gaussian(mean=0.0, std=task.weight_scale)
        pairs = list(zip(task.sizes[1:], task.sizes, strict=False))
        assert task.step_size is not None
        of_batch = {"batch_size": task.batch}
        with Context("network"):
            cells = [
                RateCell(
                    f"z{index}",
                    n_units=size,
                    tau_m=1 / task.step_size,
                    act_fx=ACTIVATIONS[task.activation],
                    **of_batch,
                )
                for index, size in enumerate(task.sizes[1:], start=1)
            ]
            self.data = BernoulliErrorCell(
                "e0", n_units=task.sizes[0], input_logits=True, **of_batch
            )
            errors = [
                GaussianErrorCell(f"e{index}", n_units=size, **of_batch)
                for index, size in enumerate(task.sizes[1:-1], start=1)
            ]
            self.down = [
                HebbianSynapse(
                    f"W{index}",
                    shape=pair,
                    eta=task.rate,
                    weight_init=init,
                    w_bound=0.0,
                    sign_value=-1.0,
                    optim_type="adam",
                    key=keys[2 * index],
                    **of_batch,
                )
                for index, pair in enumerate(pairs)
            ]
            self.up = [
                StaticSynapse(
                    f"E{index}",
                    shape=pair[::-1],
                    weight_init=init,
                    key=keys[2 * index + 1],
                    **of_batch,
                )
                for index, pair in enumerate(pairs)
            ]
            expected = [self.data.p, *(error.mu for error in errors)]
            residuals = [self.data.dp, *(error.dmu for error in errors)]
            for cell, w, e, mu, residual in zip(
                cells, self.down, self.up, expected, residuals, strict=True
            ):
                cell.zF >> w.inputs
                w.outputs >> mu
                residual >> e.inputs
                e.outputs >> cell.j
                cell.zF >> w.pre
                residual >> w.post
            for cell, error in zip(cells, errors, strict=False):
                cell.z >> error.target
                error.dtarget >> cell.j_td
            every = [*cells, self.data, *errors, *self.down, *self.up]
            self.reset = self._process("reset", [part.reset for part in every])
            predicting = [part.advance_state for part in [*self.down, self.data, *errors]]
            moving = [part.advance_state for part in [*self.up, *cells]]
            self.advance = self._process("advance", predicting + moving)
            self.respond = self._process("respond", predicting)
            self.evolve = self._process("evolve", [part.evolve for part in self.down])
        self.rows = jnp.array(self.advance.pack_rows(task.n_steps, t=lambda t: t, dt=1.0))
        self.first = [w.opt_params.get() for w in self.down]
        self.restart()

    @staticmethod
    def _process(name: str, methods: list) -> MethodProcess:
        process = MethodProcess(name=name)
        for method in methods:
            process = process >> method
        return process

    def restart(self) -> None:
        """Forget all that was learned."""
        for w, first, given in zip(self.down, self.first, self.task.first_weights(), strict=True):
            w.weights.set(jnp.asarray(given))
            w.opt_params.set(first)
        stateManager.state = self._tied(stateManager.state)

    def learn(self, images: np.ndarray) -> None:
        """Settle and learn."""
        state = stateManager.state
        for x in images:
            state = self._learn(state, x)
        stateManager.state = jax.block_until_ready(state)

    def bce(self, images: np.ndarray) -> np.ndarray:
        """BCE after settling."""
        return np.asarray(self._bce(stateManager.state, images))

    @partial(jax.jit, static_argnums=0)
    def _learn(self, state: dict[str, Any], x: jax.Array) -> dict[str, Any]:
        return self._tied(self._run(self.evolve, self._settle(state, x)))

    @partial(jax.jit, static_argnums=0)
    def _bce(self, state: dict[str, Any], x: jax.Array) -> jax.Array:
        drive = self._settle(state, x)[self.data.p.target]
        return jnp.sum(jax.nn.softplus(drive) - x * drive, axis=-1)

    def _settle(self, state: dict[str, Any], x: jax.Array) -> dict[str, Any]:
        state = self._run(self.reset, state) | {self.data.target.target: x.astype(jnp.float32)}
        state, _ = jax.lax.scan(self.advance.run.compiled, state, self.rows)
        return self._run(self.respond, state)

    @staticmethod
    def _run(process: MethodProcess, state: dict[str, Any]) -> dict[str, Any]:
        return process.run.compiled(state, process.pack_keywords(t=0.0, dt=1.0))[0]

    def _tied(self, state: dict[str, Any]) -> dict[str, Any]:
        pairs = zip(self.down, self.up, strict=True)
        return state | {e.weights.target: state[w.weights.target].T for w, e in pairs}


if __name__ == "__main__":
    serve(WithNgclearn)
