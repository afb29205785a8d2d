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
from gncn.baselines.baseline import Baseline, Batch, Objective, refuse_real_valued
from gncn.data import Dataset
from gncn.training.config import Plan, TrainingConfig, refuse_idle, untaken
from gncn.training.epochs import (
    Draw,
    EpochReport,
    OnBatch,
    Statistics,
    TrainingState,
    average,
    run_epoch,
    stack_trials,
)
from gncn.training.examples import Examples, Source, examples_of, on_device
from gncn.training.fit import Method, method_of
from gncn.training.optimiser import Learner, Rule, direction, rate_factor

IDLE = untaken("clip_norm")
"""Options of ``[training]`` without effect on baselines."""


def _batch(examples: Examples, draw: Draw) -> Batch:
    chosen = draw.chosen
    return Batch(examples.pixels(chosen), draw.weights, examples.classes(chosen))


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
        key: decides the draws of codes; each objective has draws of its own.
        rate: learning rate, before the schedule.
        plan: the fixed shape of the run.
        n_total: mini-batches of the whole run.

    Returns:
        Model and learner after the updates, and the batch's statistics before them.
    """
    rate = rate * rate_factor(plan.rule, learner.n_updates, n_total)
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


def descend_epoch(
    state: TrainingState,
    source: Source,
    rates: Float[Array, " trials"],
    plan: Plan,
    on_batch: OnBatch | None = None,
) -> tuple[TrainingState, EpochReport]:
    """Learn once from every image; see `gncn.training.hebbian.train_epoch`."""
    n_total = -(-len(source) // plan.batch_size) * plan.n_epochs
    learn = eqx.Partial(_descend_drawn, plan=plan, n_total=n_total)
    return run_epoch(state, source, plan.batch_size, learn, rates, on_batch)


def _descend_drawn(
    model: Baseline,
    learner: Learner,
    examples: Examples,
    draw: Draw,
    rate: Float[Array, ""],
    *,
    plan: Plan,
    n_total: int,
) -> tuple[Baseline, Learner, Statistics]:
    batch = _batch(examples, draw)
    return descend_batch(model, learner, batch, draw.key, rate, plan, n_total)


def evaluate_baseline(models: Baseline, source: Source, batch_size: int) -> Statistics:
    """Mean statistics over images, with the same draws of codes every time.

    Args:
        models: with a leading axis of trials.
        source: the images, with labels if the models learn them.
        batch_size: images of a block.

    Returns:
        Statistics with a leading axis of trials.
    """
    return average(models, source, batch_size, _see_drawn)


def _see_drawn(model: Baseline, examples: Examples, draw: Draw) -> Statistics:
    # Fillers count here like images: a model's statistics of an image depend on no other.
    every = draw._replace(weights=jnp.ones_like(draw.weights))
    return model.statistics(_batch(examples, every), draw.key)


@method_of.register
def _(
    model: Baseline,
    models: Sequence[Baseline],
    data: Dataset,
    configs: Sequence[TrainingConfig],
    seeds: Sequence[int],
) -> Method:
    """Backprop with clipped gradients."""
    blueprint, config = model.blueprint, configs[0]
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
    plan = config.plan()
    rates = jnp.stack([one.rates().learning_rate for one in configs])
    train, validation, test = (examples_of(split, labelled=labelled) for split in data.splits)
    train = on_device(train)
    return Method(
        start_descent(models, plan.rule, seeds),
        lambda state, on_batch: descend_epoch(state, train, rates, plan, on_batch),
        lambda state: (
            evaluate_baseline(state.network, validation, config.evaluation_batch_size),
            evaluate_baseline(state.network, test, config.evaluation_batch_size),
        ),
        model.monitored,
        "Lower training.learning_rate or training.clip_norm.",
        free_start=True,
    )
