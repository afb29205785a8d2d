"""How baselines are trained: gradients of a model's objectives, clipped, then a step.

    g ← g · min(1, c / ‖g‖),    θ ← θ − η s(t) · optimiser(g)

‖g‖ is the Euclidean norm of all of an objective's gradient together.  c is 5 in the paper ("we
re-scaled the gradients by re-projecting them to a Gaussian ball with radius of 5.0").
`gncn.training.epochs` does the mini-batches, trials and statistics.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PRNGKeyArray

from gncn.base.errors import ConfigError, DataError
from gncn.baselines.baseline import Baseline, Loss, Objective, refuse_range, refuse_unlabelled
from gncn.data import Dataset
from gncn.training.config import Rates, TrainingConfig, refuse_idle
from gncn.training.epochs import Batch, Learner, Method, Statistics
from gncn.training.fit import method_of

IDLE = ("feedback_rate", "precision_rate", "precision_bounds", "ipc_updates")
"""Options of ``[training]`` without effect on baselines."""


def _parts(model: Baseline, objective: Objective) -> list[Any]:
    return [getattr(model, name) for name in objective.learns]


def _with_parts(model: Baseline, objective: Objective, parts: list[Any]) -> Baseline:
    return dataclasses.replace(model, **dict(zip(objective.learns, parts, strict=True)))


def _loss(
    parts: list[Any], model: Baseline, objective: Objective, batch: Batch, key: PRNGKeyArray
) -> Loss:
    return objective.loss(_with_parts(model, objective, parts), batch, key)


class Backprop(Method):
    """Backprop with clipped gradients, an optimiser state for each objective."""

    advice = "Lower training.learning_rate or training.clip_norm."
    free_start = True

    @property
    def _optimizer(self) -> optax.GradientTransformation:
        # Made each time: an optimiser of Optax is functions, and a method must compare by value.
        clip = optax.clip_by_global_norm(self.config.clip_norm)
        # Clipped before the optimiser, as the paper rescales gradients, not steps.
        return optax.chain(clip, self.config.direction())

    def init(self, model: Baseline) -> Learner:
        states = [self._optimizer.init(_parts(model, one)) for one in model.objectives]
        return Learner(states, jnp.zeros((), int))

    def learn(
        self, model: Baseline, learner: Learner, batch: Batch, key: PRNGKeyArray, rates: Rates
    ) -> tuple[Baseline, Learner, Statistics]:
        """Take the model's successive updates, each with draws of codes of its own."""
        rate = rates.learning_rate * self.config.rate_factor(self.n_updates)(learner.n_updates)
        batch = batch._replace(progress=learner.n_updates / self.n_updates)
        states, seen = [], []
        for number, objective in enumerate(model.objectives):
            # Each update sees what the one before has changed: they take turns.
            parts, own_key = _parts(model, objective), jax.random.fold_in(key, number)
            descend = jax.grad(_loss, has_aux=True)
            gradient, found = descend(parts, model, objective, batch, own_key)
            updates, state = self._optimizer.update(gradient, learner.optimizer[number])
            step = rate * (model.blueprint.adversary_rate if objective.adversarial else 1)
            # Minus: baselines descend, where networks ascend ψ.
            parts = jax.tree.map(lambda p, u, step=step: p - step * u, parts, updates)
            model = _with_parts(model, objective, parts)
            states.append(state)
            seen.append(found)
        # Statistics of the first objective, which are from before all updates.
        return model, Learner(states, learner.n_updates + 1), seen[0]

    @staticmethod
    def check(models: Sequence[Baseline], data: Dataset, config: TrainingConfig) -> None:
        blueprint = models[0].blueprint
        if any(one.blueprint != blueprint for one in models):
            raise ConfigError("Models trained together must share one blueprint.")
        why = f"for {blueprint.kind!r}, which learns by backprop"
        refuse_idle(config, IDLE, why, "training.")
        if blueprint.n_pixels != data.n_pixels:
            raise DataError(
                f"The model takes images of {blueprint.n_pixels} pixels, and images of "
                f"{data.name!r} have {data.n_pixels}; plan a blueprint for {data.n_pixels}."
            )
        refuse_range(blueprint.kind, data)
        if blueprint.n_classes is not None:
            refuse_unlabelled(blueprint.kind, data)
        if blueprint.n_classes is not None and blueprint.n_classes != data.n_classes:
            raise DataError(
                f"{blueprint.kind!r} learns labels of {blueprint.n_classes} classes; {data.name!r} "
                f"has {data.n_classes or 'no labels'}."
            )


method_of.register(Baseline, lambda _: Backprop)
