"""`Method`: how models of one kind are trained, for `gncn.training.fit.fit`, which trains them all.

Networks settle and learn by Hebbian updates (`gncn.training.hebbian`); baselines descend their
objectives (`gncn.baselines.descent`).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from gncn.base.errors import ConfigError, DataError
from gncn.baselines.descent import descend_epoch, evaluate_baseline, start_descent
from gncn.baselines.models import Baseline
from gncn.core.network import Network
from gncn.data import Dataset, StoredImages
from gncn.runs.config import (
    BACKPROP_ONLY,
    HEBBIAN_ONLY,
    TrainingConfig,
    idle_in_learning,
    refuse_idle,
    refuse_real_valued,
)
from gncn.training.epochs import EpochReport, OnBatch, Statistics, TrainingState
from gncn.training.examples import examples_of, on_device
from gncn.training.hebbian import Plan, evaluate, start_training, train_epoch


@dataclass(frozen=True)
class Method:
    """What `fit` needs to know of a kind of model.

    Attributes:
        start: the state before the first epoch.
        learn: one epoch, from the state and what to tell of the progress.
        evaluate: mean statistics of the validation and of the test images.
        monitored: which statistic of the validation images tells how good a model is:
            ``error`` (low is good) or ``discrepancy`` (high is good).
        advice: what to do about divergence.
        free_start: whether an untrained model may err by any amount, as its weights start at
            any scale, without having diverged.
    """

    start: TrainingState
    learn: Callable[[TrainingState, OnBatch | None], tuple[TrainingState, EpochReport]]
    evaluate: Callable[[TrainingState], tuple[Statistics, Statistics]]
    monitored: str
    advice: str
    free_start: bool


def hebbian(
    networks: Sequence[Network],
    data: Dataset,
    configs: Sequence[TrainingConfig],
    seeds: Sequence[int],
) -> Method:
    """Settling and Hebbian updates.

    Raises:
        ConfigError: networks differ in their circuits, or an option doesn't apply.
        DataError: the data do not fit the circuit.
    """
    fixed = {(one.circuit, one.settling) for one in networks}
    if len(fixed) > 1:
        raise ConfigError(
            "Networks trained together must share one circuit and one way of settling; they may "
            "differ in seeds and in the numbers of `Dynamics`."
        )
    layer = networks[0].circuit.layers[0]
    if layer.size != data.n_pixels:
        raise DataError(
            f"The network's layer 0 has {layer.size} neurons, but images of {data.name!r} have "
            f"{data.n_pixels} pixels; build the circuit with sizes=({data.n_pixels}, ...)."
        )
    config, circuit = configs[0], networks[0].circuit
    for one in configs:
        refuse_idle(one, BACKPROP_ONLY, "for a model that learns without backprop", "training.")
        for names, why in idle_in_learning(circuit.has_precision, circuit.feedback, circuit.start):
            refuse_idle(one, names, why, "training.")
    plan = config.plan()
    _refuse_plan(networks[0], plan, data)
    rates = jax.tree.map(lambda *each: jnp.stack(each), *(one.rates() for one in configs))
    train, validation, test = (examples_of(split) for split in data.splits)
    train = on_device(train)
    return Method(
        start_training(networks, plan.rule, seeds, len(train) if plan.keep_states else None),
        lambda state, on_batch: train_epoch(state, train, rates, plan, on_batch),
        lambda state: (
            evaluate(state.network, validation, config.evaluation_batch_size),
            evaluate(state.network, test, config.evaluation_batch_size),
        ),
        "error",
        "Lower settling.step_size (β) or training.learning_rate, or hold the synapses with "
        "network.norm='clipped'.",
        free_start=False,
    )


def _refuse_plan(network: Network, plan: Plan, data: Dataset) -> None:
    """Refuse ways of training that the network's way of settling or the data rule out."""
    n_steps, n_updates = network.settling.n_settle_steps, plan.updates_per_batch
    if n_steps % n_updates:
        raise ConfigError(
            "training.updates_per_batch must divide settling.n_settle_steps; received "
            f"{n_updates} updates in {n_steps} steps."
        )
    if n_updates > 1 and network.settling.tolerance is not None:
        raise ConfigError(
            f"training.updates_per_batch={n_updates} learns at fixed steps, so states can't settle "
            f"to a tolerance; received settling.tolerance={network.settling.tolerance}."
        )
    if plan.keep_states and network.circuit.start != "constant":
        raise ConfigError(
            "training.keep_states starts from an image's last states, so "
            f"network.start={network.circuit.start!r} would have no effect; choose one of the two."
        )
    if plan.keep_states and isinstance(data.train.images, StoredImages):
        raise ConfigError(
            "training.keep_states holds the states of all training images in memory, but "
            f"{data.name!r} is streamed for being larger; train without one of the two."
        )


def descent(
    models: Sequence[Baseline],
    data: Dataset,
    configs: Sequence[TrainingConfig],
    seeds: Sequence[int],
) -> Method:
    """Backprop with clipped gradients.

    Raises:
        ConfigError: models differ in their blueprints, or an option doesn't apply.
        DataError: the data do not fit the blueprint, are not binary, or lack labels that
            the model learns.
    """
    blueprint = models[0].blueprint
    if any(model.blueprint != blueprint for model in models):
        raise ConfigError("Models trained together must share one blueprint.")
    for one in configs:
        why = f"for {blueprint.kind!r}, which learns by backprop"
        refuse_idle(one, HEBBIAN_ONLY, why, "training.")
    config = configs[0]
    if blueprint.n_pixels != data.n_pixels:
        raise DataError(
            f"The model takes images of {blueprint.n_pixels} pixels, and those of {data.name!r} "
            f"have {data.n_pixels}; plan a blueprint for {data.n_pixels}."
        )
    refuse_real_valued(blueprint.kind, data)
    if blueprint.n_classes != (data.n_classes if blueprint.n_classes else None):
        raise DataError(
            f"{blueprint.kind!r} learns labels of {blueprint.n_classes} classes; {data.name!r} has "
            f"{data.n_classes or 'no labels'}."
        )
    plan = config.plan()
    rates = jnp.stack([one.rates().learning_rate for one in configs])
    labelled = bool(blueprint.n_classes)
    train, validation, test = (examples_of(split, labelled=labelled) for split in data.splits)
    train = on_device(train)
    return Method(
        start_descent(models, plan.rule, seeds),
        lambda state, on_batch: descend_epoch(state, train, rates, plan, on_batch),
        lambda state: (
            evaluate_baseline(state.network, validation, config.evaluation_batch_size),
            evaluate_baseline(state.network, test, config.evaluation_batch_size),
        ),
        models[0].monitored,
        "Lower training.learning_rate or training.clip_norm.",
        free_start=True,
    )
