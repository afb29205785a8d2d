"""The configuration of a run: model, data, sizes and training, from TOML.

A configuration is a preset or a TOML file, or a preset overlaid by a file, with
single values overridden (``training.n_epochs=3``) on top.  Every option has a default;
an unknown one is an error that lists the choices, and so is a value that would have no
effect.  The options of ``[network]`` and ``[settling]`` are those of `gncn.chain` and
`gncn.build`; ``[backprop]`` and ``[mixture]`` are for the baselines.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError, DataError, unknown_choice
from gncn.baselines.blueprint import BUDGET, KINDS, LEAST_VARIANCE, Blueprint, plan_blueprint
from gncn.baselines.models import Baseline, start_baseline
from gncn.baselines.pixel_mixture import Emission
from gncn.core.circuit import (
    Axis,
    Circuit,
    Compared,
    Competition,
    Feedback,
    Norm,
    Precision,
    Start,
    chain,
)
from gncn.core.learning import Rates, Rule, rates
from gncn.core.network import Network, Settling, build
from gncn.data import Dataset
from gncn.data.config import DataConfig
from gncn.evaluation.mixture import Covariance
from gncn.runs.presets import read_settings
from gncn.runs.toml import overlay, parse_override, write_toml
from gncn.training.hebbian import Plan

T = TypeVar("T")
Each = T | tuple[T, ...]
"""One value for all layers, or one each."""


def _all(value: T | tuple[T, ...]) -> tuple[T, ...]:
    return value if isinstance(value, tuple) else (value,)


class NetworkConfig(Description):
    """The circuit: options of `gncn.chain`, with `sizes` the latent layers only."""

    sizes: tuple[int, ...] = (360, 360, 360)
    activation: Each[str] = "relu"
    prediction_activation: Each[str] = "relu"
    output_activation: str | None = None
    winners: Each[int] | None = None
    non_negative: Each[bool] = False
    competition: Each[Competition] = "none"
    group_size: Each[int] | None = None
    band_width: Each[int] | None = None
    precision: Each[Precision] = "off"
    output_precision: Precision = "off"
    distribution: Literal["bernoulli", "gaussian"] = "bernoulli"
    norm: Each[Norm] = "off"
    max_norm: Each[float] | None = None
    max_feedback_norm: Each[float] | None = None
    norm_axis: Each[Axis] = "sending"
    feedback: Feedback = "learned"
    compared: Compared = "state"
    competing: Compared = "state"
    initial_state: float = 0.0
    start: Start = "constant"

    def circuit(self, n_pixels: int) -> Circuit:
        """The circuit for images of `n_pixels`."""
        options = {name: getattr(self, name) for name in type(self).model_fields}
        return chain((n_pixels, *options.pop("sizes")), **options)


class SettlingConfig(Settling):
    """How states settle: options of `gncn.Settling` and `gncn.build`."""

    step_size: Each[float] = 0.1
    leak: Each[float] = 0.001
    self_excitation: Each[float] = 0.13
    lateral_inhibition: Each[float] = 0.125
    weight_scale: float = 0.05
    initial_precision: float = 1.0


class TrainingConfig(Rule):
    """How a network is trained: the `Rule`, the `Rates`, and the length of the run.

    Attributes:
        n_epochs: passes over the training images.
        batch_size: images in a mini-batch.
        learning_rate: of W and E.
        feedback_rate: λ of Eq 19, the step of E relative to that of W.
        start_rate: the step of A relative to that of W.
        precision_rate: step of Eq 7.
        evaluation_batch_size: images settled at once when evaluating.
        patience: stop after so many epochs in which no trial improved on the validation
            images, and keep each trial's best epoch; None: train to the end and keep
            that.
        updates_per_batch: how often synapses learn while a mini-batch settles; 1: once,
            after it has settled (the paper's recipe).  Must divide the settling steps.
        keep_states: keep the settled states of every training image, and settle it from
            there in the next epoch.
    """

    n_epochs: int = Field(default=10, ge=1)
    batch_size: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=1e-3, ge=0)
    feedback_rate: float = Field(default=1.0, ge=0, le=1)
    start_rate: float = Field(default=1.0, ge=0)
    precision_rate: float = Field(default=1e-3, ge=0)
    evaluation_batch_size: int = Field(default=200, ge=1)
    patience: int | None = Field(default=None, ge=1)
    updates_per_batch: int = Field(default=1, ge=1)
    keep_states: bool = False

    def rates(self) -> Rates:
        """The rates as arrays."""
        return rates(**{name: getattr(self, name) for name in RATES})

    def plan(self) -> Plan:
        """The fixed shape of the run."""
        rule = Rule(**{name: getattr(self, name) for name in Rule.model_fields})
        return Plan(rule, self.n_epochs, self.batch_size, self.updates_per_batch, self.keep_states)


class BackpropConfig(Description):
    """Baselines trained by backprop: options of `plan_blueprint` and `start_baseline`.

    Attributes:
        budget: synapses at most, which decides the hidden layers' width.
        n_latent: units of an autoencoder's code.
        variance: σ² of ``gvae-cv``, within [0.025, 1]; of several, validation images
            choose (`gncn.runs.train.choose_variance`).
        penalty: λ; see `Blueprint`.
        encoder_penalty: of autoencoders; see `Blueprint`.
        adversary_rate: of ``gan-ae``; see `Blueprint`.
        kl_warmup: of ``gvae`` and ``gvae-cv``; see `Blueprint`.  ψ of validation images may
            fall while it lasts: `training.patience` should be longer.
        weight_scale: of the first weights, relative to √(2 / units below).
    """

    budget: int = Field(default=BUDGET, ge=1)
    n_latent: int = Field(default=20, ge=1)
    variance: float | tuple[float, ...] = 0.1
    penalty: float = Field(default=0.0, ge=0)
    encoder_penalty: float = Field(default=0.0, ge=0)
    adversary_rate: float = Field(default=1.0, gt=0)
    kl_warmup: float = Field(default=0.0, ge=0, le=1)
    weight_scale: float = Field(default=1.0, gt=0)

    @model_validator(mode="after")
    def _check(self) -> "BackpropConfig":
        variances = _all(self.variance)
        wrong = [value for value in variances if not LEAST_VARIANCE <= value <= 1]
        if wrong or not variances or len(set(variances)) < len(variances):
            raise ValueError(
                f"variance must be a number from {LEAST_VARIANCE} to 1, or several different ones "
                f"to choose from; received {self.variance!r}."
            )
        return self


class PixelMixtureConfig(Description):
    """The Gaussian mixture on pixels; see `gncn.baselines.pixel_mixture`.

    Attributes:
        n_components: K.
        covariance: of the components.
        regularisation: added to every variance.
        max_iterations: EM steps at most.
        emission: what is clipped: ``samples`` or ``means``.
        floor: ε; pixels' probabilities are clipped to [ε, 1 − ε].
        n_samples: S for log p(x), if samples are clipped.
    """

    n_components: int = Field(default=65, ge=1)
    covariance: Covariance = "full"
    regularisation: float = Field(default=1e-3, gt=0)
    max_iterations: int = Field(default=50, ge=1)
    emission: Emission = "samples"
    floor: float = Field(default=0.01, gt=0, lt=0.5)
    n_samples: int = Field(default=5000, ge=1)


MODELS = ("gncn", *KINDS, "gmm")
"""Models that a configuration can name."""

RATES = tuple(field.name for field in dataclasses.fields(Rates))
"""Options of ``[training]`` that may differ between models trained at once."""
HEBBIAN_ONLY = (
    "feedback_rate",
    "start_rate",
    "precision_rate",
    "precision_bounds",
    "updates_per_batch",
    "keep_states",
)
"""Options of ``[training]`` that apply to networks alone."""
BACKPROP_ONLY = ("clip_norm",)
"""Options of ``[training]`` that apply to baselines trained by backprop alone."""

_SECTIONS = {"gncn": ("network", "settling", "training"), "gmm": ("mixture",)}


def refuse_idle(config: Description, names: Iterable[str], why: str, prefix: str = "") -> None:
    """Refuse values that differ from their defaults but would have no effect.

    Args:
        config: the options.
        names: of those that have no effect.
        why: completes the sentence "option=value has no effect ...".
        prefix: written before each name.

    Raises:
        ConfigError: naming the option and its value.
    """
    for name in names:
        value, default = getattr(config, name), type(config).model_fields[name].default
        if value != default:
            raise ConfigError(f"{prefix}{name}={value!r} has no effect {why}.")


def idle_in_learning(
    has_precision: bool, feedback: str, start: str
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Options of learning that have no effect on a circuit: their names and why.

    Args:
        has_precision: whether any layer learns a precision.
        feedback: see `gncn.core.circuit.Circuit`.
        start: likewise.
    """
    if not has_precision:
        yield ("precision_rate", "precision_bounds"), "without network.precision"
    if feedback != "learned":
        yield ("feedback_rate",), "without network.feedback='learned'"
    if start != "amortised":
        yield ("start_rate",), "without network.start='amortised'"


def refuse_unequal(configs: Sequence[TrainingConfig]) -> None:
    """Refuse configurations of trials that one program can't train.

    Raises:
        ConfigError: they differ in more than their rates.
    """
    for name in TrainingConfig.model_fields:
        values = [getattr(config, name) for config in configs]
        if name not in RATES and any(value != values[0] for value in values):
            raise ConfigError(
                f"Models trained at once may differ in {', '.join(RATES)} and share all else; "
                f"received training.{name}={values}. Train them one by one."
            )


def refuse_real_valued(model: str, data: Dataset) -> None:
    """Refuse grey images for a model of binary ones.

    Raises:
        DataError: the images are real-valued.
    """
    if not data.binary:
        raise DataError(
            f"{model!r} models binary images; those of {data.name!r} are real-valued. Binarise "
            "them (data.binarisation='threshold')."
        )


class Config(Description):
    """Everything that decides a run, apart from the machine it runs on.

    Attributes:
        model: ``gncn``, or a baseline: ``rae``, ``gvae``, ``gvae-cv``, ``gan-ae``,
            ``dsrn`` or ``gmm``.
        seed: of the first trial; trial k uses seed + k.
        n_trials: models trained at once.
        data: which data.
        network: the circuit; ``gncn`` only.
        settling: how states settle; ``gncn`` only.
        training: how synapses learn; not ``gmm``.
        backprop: sizes and objectives of baselines trained by backprop.
        mixture: the mixture; ``gmm`` only.
    """

    model: str = "gncn"
    seed: int = Field(default=0, ge=0, lt=1 << 31)
    n_trials: int = Field(default=1, ge=1)
    data: DataConfig = DataConfig()
    network: NetworkConfig = NetworkConfig()
    settling: SettlingConfig = SettlingConfig()
    training: TrainingConfig = TrainingConfig()
    backprop: BackpropConfig = BackpropConfig()
    mixture: PixelMixtureConfig = PixelMixtureConfig()

    @model_validator(mode="after")
    def _refuse_idle_options(self) -> "Config":
        """Refuse a value that differs from its default but would have no effect."""
        if self.model not in MODELS:
            raise unknown_choice("model", self.model, MODELS)
        for section, names, why in self._idle_options():
            refuse_idle(getattr(self, section), names, why, f"{section}.")
        lowest, highest = self.training.precision_bounds
        initial = self.settling.initial_precision
        if self.model == "gncn" and self._has_precision and not lowest <= initial <= highest:
            raise ConfigError(
                f"settling.initial_precision={initial} must lie within training.precision_bounds="
                f"{self.training.precision_bounds}, to which learning would move it at once."
            )
        return self

    def _idle_options(self) -> Iterator[tuple[str, tuple[str, ...], str]]:
        """Options that have no effect: their section, their names and why."""
        named = f"with model={self.model!r}"
        for section in ("network", "settling", "training", "backprop", "mixture"):
            if section not in self.sections:
                yield section, tuple(type(getattr(self, section)).model_fields), named
        if self.model != "gncn":
            yield "training", HEBBIAN_ONLY, named
            takers = {
                "variance": ("gvae-cv",),
                "adversary_rate": ("gan-ae",),
                "kl_warmup": ("gvae", "gvae-cv"),
            }
            idle = [name for name, models in takers.items() if self.model not in models]
            if self.model == "dsrn":
                idle += ["n_latent", "encoder_penalty"]
            yield "backprop", tuple(idle), named
            if self.mixture.emission == "means":
                yield "mixture", ("n_samples",), "with emission='means'"
            return
        network = self.network
        yield "training", BACKPROP_ONLY, named
        if set(_all(network.competition)) == {"none"}:
            why = "without network.competition"
            yield "settling", ("self_excitation", "lateral_inhibition"), why
        if not self._has_precision:
            yield "settling", ("initial_precision",), "without network.precision"
        for names, why in idle_in_learning(self._has_precision, network.feedback, network.start):
            yield "training", names, why

    @property
    def _has_precision(self) -> bool:
        network = self.network
        return {*_all(network.precision), network.output_precision} != {"off"}

    def with_whole_paths(self) -> "Config":
        """The same, with paths that mean the same wherever they are read."""
        return self.model_copy(update={"data": self.data.with_whole_paths()})

    @property
    def sections(self) -> tuple[str, ...]:
        """The sections, beside ``[data]``, that apply to the model."""
        return _SECTIONS.get(self.model, ("backprop", "training"))

    def networks(self, n_pixels: int) -> list[Network]:
        """Fresh networks, one for each trial, for images of `n_pixels`."""
        circuit = self.network.circuit(n_pixels)
        options = {name: getattr(self.settling, name) for name in SettlingConfig.model_fields}
        return [build(circuit, seed=seed, **options) for seed in self.seeds]

    def blueprint(self, data: Dataset) -> Blueprint:
        """What a baseline trained by backprop is made of, for these data.

        Raises:
            ConfigError: the budget is too small, the data have no labels to learn, or
                the variance is still to be chosen among several.
        """
        variance, *others = self.variances
        if others:
            raise ConfigError(
                "One model has one variance; received "
                f"backprop.variance={self.backprop.variance!r}. `gncn.runs.train` "
                "chooses among several."
            )
        if self.model == "dsrn" and data.n_classes is None:
            raise ConfigError(f"'dsrn' learns labels, and {data.name!r} has none.")
        options = self.backprop
        return plan_blueprint(
            self.model,
            data.n_pixels,
            budget=options.budget,
            n_latent=None if self.model == "dsrn" else options.n_latent,
            n_classes=data.n_classes if self.model == "dsrn" else None,
            variance=variance if self.model == "gvae-cv" else None,
            penalty=options.penalty,
            encoder_penalty=options.encoder_penalty,
            adversary_rate=options.adversary_rate,
            kl_warmup=options.kl_warmup,
        )

    @property
    def variances(self) -> tuple[float, ...]:
        """Those of ``gvae-cv`` among which validation images choose; mostly one."""
        return _all(self.backprop.variance)

    def with_variance(self, variance: float) -> "Config":
        """The same with one variance, for ``gvae-cv``."""
        backprop = self.backprop.model_copy(update={"variance": variance})
        return self.model_copy(update={"backprop": backprop})

    def models(self, data: Dataset) -> list[Network] | list[Baseline]:
        """Fresh models, one for each trial, for these data; not for ``gmm``."""
        if self.model == "gncn":
            return self.networks(data.n_pixels)
        blueprint, scale = self.blueprint(data), self.backprop.weight_scale
        return [start_baseline(blueprint, seed=seed, weight_scale=scale) for seed in self.seeds]

    def n_synapses(self, data: Dataset) -> int | None:
        """All that a model learns; None for the mixture, which has no synapses."""
        if self.model == "gmm":
            return None
        if self.model == "gncn":
            return self.network.circuit(data.n_pixels).n_synapses
        return self.with_variance(self.variances[0]).blueprint(data).n_synapses

    def describe(self, data: Dataset) -> str:
        """The model's layers and synapses in a few words.

        Raises:
            ConfigError: the model can't be made for these data.
            DataError: the images are real-valued, and the model is of binary ones.
        """
        if self.model != "gncn":
            refuse_real_valued(self.model, data)
        if self.model == "gmm":
            mixture = self.mixture
            return f"{mixture.n_components} components, {mixture.covariance} covariance, on pixels"
        if self.model == "gncn":
            sizes = {"network": self.network.circuit(data.n_pixels).sizes}
        else:
            sizes = self.with_variance(self.variances[0]).blueprint(data).parts
        layers = {name: "-".join(map(str, part)) for name, part in sizes.items()}
        named = [layers["network"]] if len(layers) == 1 else [f"{k} {v}" for k, v in layers.items()]
        return f"{', '.join(named)}; {self.n_synapses(data):,} synapses"

    @property
    def seeds(self) -> list[int]:
        """The seed of each trial."""
        return [self.seed + trial for trial in range(self.n_trials)]

    def to_toml(self) -> str:
        """The whole configuration, defaults included, as TOML: all that has an effect."""
        values = self.model_dump(include={"model", "seed", "n_trials", "data", *self.sections})
        for section, names, _ in self._idle_options():
            for name in names:
                values.get(section, {}).pop(name, None)
        return write_toml(values)


def load_config(
    *,
    preset: str | None = None,
    file: str | Path | None = None,
    overrides: Sequence[str] = (),
) -> Config:
    """Read a configuration.

    Args:
        preset: name of a preset to begin with.
        file: a TOML file laid over it.
        overrides: single values laid over that, such as ``"training.n_epochs=3"``; the
            value is read as TOML, and as plain text if it isn't TOML.

    Returns:
        The configuration, checked.

    Raises:
        ConfigError: unknown preset, option or value, or a file that isn't TOML.
    """
    values = read_settings(preset=preset, file=file)
    for override in overrides:
        values = overlay(values, parse_override(override))
    return Config(**values)
