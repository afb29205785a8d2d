"""The baselines as kinds of models: how a configuration makes and trains each of them.

Their names are ``rae``, ``gvae``, ``gvae-cv``, ``gan-ae`` and ``dsrn``, which learn by backprop,
and ``gmm``, the Gaussian mixture on pixels.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import fmean
from typing import Any, NamedTuple, TypeVar

import jax

from gncn.base.errors import ConfigError, check_positive, check_seed
from gncn.base.hardware import refuse_too_large
from gncn.baselines.autoencoder import GANAE, GVAE, RAE, ConstantVarianceGVAE
from gncn.baselines.baseline import (
    Baseline,
    refuse_range,
    refuse_real_valued,
    refuse_unlabelled,
    start_dense,
)
from gncn.baselines.blueprint import SPECIAL, BackpropConfig, Blueprint, Kind, plan_blueprint
from gncn.baselines.classifier import DSRN
from gncn.baselines.descent import IDLE
from gncn.baselines.pixel_mixture import PixelMixture, PixelMixtureConfig, fit_pixel_mixture
from gncn.data import Dataset
from gncn.training.checkpoints import Checkpoints
from gncn.training.kinds import MODEL_KINDS, Idle, ModelKind, Run
from gncn.training.progress import Fit, Interrupted


class BaselineRun(Run):
    """The part of a configuration that baselines read; see `gncn.Config`."""

    backprop: BackpropConfig = BackpropConfig()
    mixture: PixelMixtureConfig = PixelMixtureConfig()


CLASSES: dict[Kind, type[Baseline]] = {
    "rae": RAE,
    "gvae": GVAE,
    "gvae-cv": ConstantVarianceGVAE,
    "gan-ae": GANAE,
    "dsrn": DSRN,
}
"""Baselines trained by backprop, by name."""


def start_baseline(blueprint: Blueprint, *, seed: int, weight_scale: float = 1.0) -> Baseline:
    """A baseline with random weights; `start_dense` says what their scale means."""
    check_positive(weight_scale=weight_scale)
    refuse_too_large(
        f"A baseline of {blueprint.n_synapses:,} synapses",
        4 * blueprint.n_synapses,
        "Lower the budget or the sizes.",
    )
    keys = jax.random.split(jax.random.key(check_seed(seed)), len(blueprint.parts))
    parts: dict[str, Any] = {
        name: start_dense(sizes, key, weight_scale)
        for key, (name, sizes) in zip(keys, blueprint.parts.items(), strict=True)
    }
    return CLASSES[blueprint.kind](blueprint=blueprint, **parts)


R = TypeVar("R", bound=BaselineRun)


class VarianceChoice(NamedTuple):
    """GVAE-CVs of several variances, compared on validation images.

    Attributes:
        config: the configuration with the best variance.
        fit: its training.
        validation: by variance tried, ψ of the validation images at the epochs kept,
            averaged over trials.
    """

    config: Any
    fit: Fit[Any]
    validation: dict[float, float]


def choose_variance(
    config: R,
    train: Callable[[R], Fit[Any]],
    on_choice: Callable[[VarianceChoice], None] = lambda _: None,
) -> VarianceChoice:
    """Train with each of a configuration's variances, and choose by validation images.

    ψ (Eq 21) is a bound on log p(x) whatever the variance, so the variance of the highest ψ is
    best.

    Args:
        config: all its `backprop.variances` are tried.
        train: trains the models of a configuration with one variance.
        on_choice: receives the best so far after each training.

    Raises:
        FitDivergenceError: a training diverged; holds its last good state.
        Interrupted: Ctrl-C; holds the best of the models that were trained to their end, or before
            there is one what there is of the first.
    """
    validation: dict[float, float] = {}
    best: VarianceChoice | None = None
    for variance in config.backprop.variances:
        # One variance each: the configuration with several has no model.
        backprop = config.backprop.model_copy(update={"variance": variance})
        one = config.model_copy(update={"backprop": backprop})
        stop: Interrupted | None = None
        # Ctrl-C in a later training keeps the best of those that ended.
        try:
            result = train(one)
        except Interrupted as caught:
            if best is not None:
                raise Interrupted(replace(best.fit, status="interrupted")) from None
            if not caught.fit.history:
                raise
            result, stop = caught.fit, caught
        # At the epochs kept, the models that would be used.
        psi = fmean(record.held_out.discrepancy for record in result.kept)
        # Strictly above, so the first of equal variances wins.
        if best is None or psi > max(validation.values()):
            best = VarianceChoice(one, result, validation)
        validation[variance] = psi
        on_choice(best)
        if stop is not None:
            raise stop
    assert best is not None
    return best


class _Backprop(ModelKind[BaselineRun]):
    """Baselines trained by backprop, each as wide as its budget of synapses allows."""

    sections = ("training", "backprop")

    def __init__(self, name: Kind) -> None:
        self.name = name

    def idle(self, config: BaselineRun) -> Iterator[Idle]:
        named = f"with model={self.name!r}"
        yield "training", IDLE, named
        others = [option for option, kinds in SPECIAL.items() if self.name not in kinds]
        idle = tuple(option for option in others if option in BackpropConfig.model_fields)
        yield "backprop", idle, named

    def check(self, config: BaselineRun) -> None:
        """Validation images that were learned from can't choose a variance."""
        if config.training.train_on == "both" and len(config.backprop.variances) > 1:
            raise ConfigError(
                "Validation images choose among several variances, and training.train_on='both' "
                f"learns from them: choose one first; received backprop.variance="
                f"{config.backprop.variance!r}."
            )

    def blueprint(self, config: BaselineRun, data: Dataset) -> Blueprint:
        """The blueprint of the models; of several variances, with the first."""
        if self.name == "dsrn" and data.n_classes is None:
            raise ConfigError(f"'dsrn' learns labels, and {data.name!r} has none.")
        if self.name == "dsrn":
            refuse_unlabelled(self.name, data)
        options = config.backprop.model_dump(exclude={"budget", "weight_scale"})
        options |= {"variance": config.backprop.variances[0], "n_classes": data.n_classes}
        # Options that are not special belong to all kinds.
        taken = {n: value for n, value in options.items() if self.name in SPECIAL.get(n, CLASSES)}
        return plan_blueprint(self.name, data.n_pixels, budget=config.backprop.budget, **taken)

    def models(self, config: BaselineRun, data: Dataset) -> list[Baseline]:
        if len(config.backprop.variances) > 1:
            raise ConfigError(
                "One model has one variance; received "
                f"backprop.variance={config.backprop.variance!r}. "
                "`gncn.baselines.kinds.choose_variance` chooses among several."
            )
        blueprint, scale = self.blueprint(config, data), config.backprop.weight_scale
        return [start_baseline(blueprint, seed=seed, weight_scale=scale) for seed in config.seeds]

    def n_synapses(self, config: BaselineRun, data: Dataset) -> int:
        return self.blueprint(config, data).n_synapses

    def n_codes(self, config: BaselineRun) -> int | None:
        return config.backprop.n_latent if self.name in SPECIAL["n_latent"] else None

    def describe(self, config: BaselineRun, data: Dataset) -> str:
        refuse_range(self.name, data)
        blueprint = self.blueprint(config, data)
        sizes = {part: "-".join(map(str, layers)) for part, layers in blueprint.parts.items()}
        named = [f"{part} {layers}" for part, layers in sizes.items()]
        shown = ", ".join(named if len(sizes) > 1 else sizes.values())
        return f"{shown}; {blueprint.n_synapses:,} synapses"

    def train(
        self,
        config: BaselineRun,
        data: Dataset,
        callbacks: Any = (),
        checkpoints: Checkpoints | None = None,
    ) -> Fit[Baseline]:
        """By backprop; of several variances the best is returned."""

        def own(one: BaselineRun) -> Checkpoints | None:
            if checkpoints is None or len(config.backprop.variances) == 1:
                return checkpoints
            # Each variance is a training of its own, and its checkpoints must not be taken for
            # another's.
            return checkpoints.of(f"variance-{one.backprop.variance}")

        def train_one(one: BaselineRun) -> Fit[Baseline]:
            return super(_Backprop, self).train(one, data, callbacks, own(one))

        return choose_variance(config, train_one).fit


class _Mixture(ModelKind[BaselineRun]):
    """The Gaussian mixture on pixels."""

    name = "gmm"
    sections = ("mixture",)

    def idle(self, config: BaselineRun) -> Iterator[Idle]:
        if config.mixture.emission == "means":
            yield "mixture", ("n_samples",), "with emission='means'"

    def models(self, config: BaselineRun, data: Dataset) -> list[PixelMixture]:
        raise ConfigError("'gmm' has no models before training, because EM starts from the data.")

    def n_synapses(self, config: BaselineRun, data: Dataset) -> None:
        """None."""

    def n_codes(self, config: BaselineRun) -> None:
        """None: it can only be sampled."""

    def describe(self, config: BaselineRun, data: Dataset) -> str:
        refuse_real_valued(self.name, data)
        mixture = config.mixture
        return f"{mixture.n_components} components, {mixture.covariance} covariance, on pixels"

    def train(
        self,
        config: BaselineRun,
        data: Dataset,
        callbacks: Any = (),
        checkpoints: Checkpoints | None = None,
    ) -> Fit[PixelMixture]:
        """By EM, which has one epoch and starts again after a kill: it keeps no checkpoints."""
        return fit_pixel_mixture(data, config.mixture, seeds=config.seeds, callbacks=callbacks)


MODEL_KINDS.update({name: _Backprop(name) for name in CLASSES} | {"gmm": _Mixture()})
