"""An epoch of backprop: gradients of a model's objectives, clipped, then a step.

    g ← g · min(1, c / ‖g‖),    θ ← θ − η s(t) · optimiser(g)

‖g‖ is the Euclidean norm of all of an objective's gradient together and c is 5 ("we
re-scaled the gradients by re-projecting them to a Gaussian ball with radius of 5.0").
`gncn.training.epochs` does the mini-batches, trials and statistics.
"""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from gncn.base.errors import ConfigError, DataError
from gncn.baselines.baseline import Baseline, Objective, refuse_real_valued
from gncn.data import Dataset
from gncn.training.config import Plan, TrainingConfig, refuse_idle, untaken
from gncn.training.epochs import Batch, Statistics, TrainingState, average, stack_trials
from gncn.training.examples import Source
from gncn.training.fit import Method, method_of
from gncn.training.optimiser import Learner, Rates, Rule, direction, rate_factor

IDLE = untaken("clip_norm")
"""Options of ``[training]`` without effect on baselines."""


def _optimizer(rule: Rule) -> optax.GradientTransformation:
    return optax.chain(optax.clip_by_global_norm(rule.clip_norm), direction(rule))


def _parts(model: Baseline, objective: Objective) -> list[Any]:
    return [getattr(model, name) for name in objective.learns]


def start_descent(models: Sequence[Baseline], rule: Rule, seeds: Sequence[int]) -> TrainingState:
    """Stack models of one blueprint for training, an optimiser state for each objective."""
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
    rates: Rates,
    plan: Plan,
    n_total: int,
) -> tuple[Baseline, Learner, Statistics]:
    """Take the model's successive updates on one mini-batch.

    Args:
        model: one model.
        learner: optimiser states.
        batch: images and weights.
        key: decides the draws of codes; each objective has draws of its own.
        rates: the learning rate, before the schedule.
        plan: the fixed shape of the run.
        n_total: mini-batches of the whole run.

    Returns:
        Model and learner after the updates, and the batch's statistics before them.
    """
    rate = rates.learning_rate * rate_factor(plan.rule, learner.n_updates, n_total)
    batch = batch._replace(progress=learner.n_updates / n_total)
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


def see(model: Baseline, batch: Batch, key: PRNGKeyArray) -> Statistics:
    """What is recorded of held-out images."""
    return model.statistics(batch, key)


def evaluate_baseline(models: Baseline, source: Source, batch_size: int) -> Statistics:
    """Mean statistics over images, with the same draws of codes every time.

    Models have a leading axis of trials, and the images labels if the models learn them.
    """
    return average(models, source, batch_size, see)


@method_of.register
def _(
    model: Baseline,
    models: Sequence[Baseline],
    data: Dataset,
    configs: Sequence[TrainingConfig],
    seeds: Sequence[int],
) -> Method:
    """Backprop with clipped gradients."""
    blueprint = model.blueprint
    if any(one.blueprint != blueprint for one in models):
        raise ConfigError("Models trained together must share one blueprint.")
    for one in configs:
        why = f"for {blueprint.kind!r}, which learns by backprop"
        refuse_idle(one, IDLE, why, "training.")
    if blueprint.n_pixels != data.n_pixels:
        raise DataError(
            f"The model takes images of {blueprint.n_pixels} pixels, and images of {data.name!r} "
            f"have {data.n_pixels}; plan a blueprint for {data.n_pixels}."
        )
    refuse_real_valued(blueprint.kind, data)
    labelled = blueprint.n_classes is not None
    if labelled and blueprint.n_classes != data.n_classes:
        raise DataError(
            f"{blueprint.kind!r} learns labels of {blueprint.n_classes} classes; {data.name!r} has "
            f"{data.n_classes or 'no labels'}."
        )
    return Method(
        start_descent(models, configs[0].plan().rule, seeds),
        descend_batch,
        see,
        model.monitored,
        "Lower training.learning_rate or training.clip_norm.",
        labelled=labelled,
        free_start=True,
    )
