"""An epoch of backprop: gradients of a model's objectives, clipped, then a step.

    g ← g · min(1, c / ‖g‖),    θ ← θ − η s(t) · optimiser(g)

‖g‖ is the Euclidean norm of all of an objective's gradient together and c is 5 ("we
re-scaled the gradients by re-projecting them to a Gaussian ball with radius of 5.0").
Mini-batches, schedules, trials and statistics are those of `gncn.training`.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, Shaped

from gncn.baselines.models import Baseline
from gncn.baselines.objective import Batch, Objective
from gncn.learning import Learner, Rule, direction, rate_factor
from gncn.training import (
    EpochReport,
    Plan,
    Statistics,
    TrainingState,
    average,
    run_epoch,
    stack_trials,
)


class Examples(eqx.Module):
    """Images to learn from or to evaluate on.

    Attributes:
        images: binary pixels; small integers are cheapest to hold.
        labels: classes, for a model that learns them.
    """

    images: Shaped[Array, "images pixels"]
    labels: Int[Array, " images"] | None

    def batch(self, chosen: Int[Array, " batch"], weights: Float[Array, " batch"]) -> Batch:
        """The mini-batch of these indices."""
        labels = None if self.labels is None else self.labels[chosen]
        return Batch(self.images[chosen].astype(jnp.float32), weights, labels)


def _optimizer(rule: Rule) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(rule.clip_norm), direction(rule))


def _parts(model: Baseline, objective: Objective) -> list[Any]:
    return [getattr(model, name) for name in objective.learns]


def start_descent(models: Sequence[Baseline], rule: Rule, seeds: Sequence[int]) -> TrainingState:
    """Stack models of one blueprint for training, an optimiser state for each objective.

    Args:
        models: one for each trial.
        rule: optimiser, schedule and the norm to clip at.
        seeds: seed of each trial's order of images and draws.
    """
    learners = [
        Learner(
            [_optimizer(rule).init(_parts(model, objective)) for objective in model.objectives],
            jnp.zeros((), int),
        )
        for model in models
    ]
    return stack_trials(models, learners, seeds)


def descend_batch(
    model: Baseline,
    learner: Learner,
    batch: Batch,
    key: PRNGKeyArray,
    rate: Float[Array, ""],
    plan: Plan,
    n_total: int,
) -> tuple[Baseline, Learner, Statistics]:
    """Take the model's successive updates on one mini-batch.

    Args:
        model: one model.
        learner: optimiser states.
        batch: images and weights.
        key: of draws of codes; each objective has draws of its own.
        rate: learning rate, before the schedule.
        plan: the fixed shape of the run.
        n_total: mini-batches of the whole run.

    Returns:
        Model and learner after the updates, and the batch's statistics before them.
    """
    rate = rate * rate_factor(plan.rule, learner.n_updates, n_total)
    states, seen = [], None
    for number, (objective, state) in enumerate(
        zip(model.objectives, learner.optimizer, strict=True)
    ):
        whole = model

        def loss(
            parts: list[Any],
            objective: Objective = objective,
            whole: Baseline = whole,
            number: int = number,
        ) -> tuple[Float[Array, ""], Statistics | None]:
            changed = eqx.tree_at(lambda m: _parts(m, objective), whole, parts)
            return objective.loss(changed, batch, jax.random.fold_in(key, number))

        parts = _parts(model, objective)
        gradient, found = jax.grad(loss, has_aux=True)(parts)
        seen = found if seen is None else seen
        updates, state = _optimizer(plan.rule).update(gradient, state)
        step = rate * (model.blueprint.adversary_rate if objective.adversarial else 1)
        parts = jax.tree.map(lambda p, u, step=step: p - step * u, parts, updates)
        model = eqx.tree_at(lambda m, objective=objective: _parts(m, objective), model, parts)
        states.append(state)
    assert seen is not None
    return model, Learner(states, learner.n_updates + 1), seen


@eqx.filter_jit
def descend_epoch(
    state: TrainingState,
    examples: Examples,
    rates: Float[Array, " trials"],
    plan: Plan,
    on_batch: Callable[[Int[Array, ""]], None] | None = None,
) -> tuple[TrainingState, EpochReport]:
    """Learn once from every image; see `gncn.training.train_epoch`."""
    n_images = len(examples.images)
    n_total = -(-n_images // plan.batch_size) * plan.n_epochs

    def learn(
        model: Baseline,
        learner: Learner,
        chosen: Int[Array, " batch"],
        weights: Float[Array, " batch"],
        key: PRNGKeyArray,
        rate: Float[Array, ""],
    ) -> tuple[Baseline, Learner, Statistics]:
        batch = examples.batch(chosen, weights)
        return descend_batch(model, learner, batch, key, rate, plan, n_total)

    return run_epoch(state, n_images, plan.batch_size, learn, rates, on_batch)


@eqx.filter_jit
def evaluate_baseline(models: Baseline, examples: Examples, batch_size: int) -> Statistics:
    """Mean statistics over images, the same draws of codes every time.

    Args:
        models: with a leading axis of trials.
        examples: the images.
        batch_size: images of a block.

    Returns:
        Statistics with a leading axis of trials.
    """

    def see(model: Baseline, chosen: Int[Array, " batch"], key: PRNGKeyArray) -> Statistics:
        return model.statistics(examples.batch(chosen, jnp.ones(len(chosen))), key)

    return average(models, len(examples.images), batch_size, see)
