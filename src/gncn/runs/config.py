"""`Config`: everything that decides a run, from presets and TOML files.

A configuration has a section for each room that takes options, and each section is a class of
that room.  Which sections and options apply is for the model's kind to say
(`gncn.training.kinds.ModelKind`); a value that would have no effect is an error, and so is an
unknown option.  Every option has a default.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import model_validator

from gncn.base.errors import ConfigError, quoted, unknown_choice
from gncn.base.files import place
from gncn.baselines.kinds import BaselineRun
from gncn.data import DataConfig, Dataset
from gncn.runs.toml import overlay, packaged, packaged_names, parse_override, read_toml, write_toml
from gncn.training.config import refuse_idle
from gncn.training.kinds import MODEL_KINDS, ModelKind

_PRESETS = "runs/presets"
_OPTIONAL = ("network", "settling", "training", "backprop", "mixture")
"""Sections that apply to some models only."""


class Config(BaselineRun):
    """Everything that decides a run, apart from the machine it runs on.

    Attributes:
        model: name of the model's kind: ``gncn``, or a baseline: ``rae``, ``gvae``, ``gvae-cv``,
            ``gan-ae``, ``dsrn`` or ``gmm``.
        seed: seed of the first trial; trial k uses seed + k.
        n_trials: number of models trained at once.
        data: which data.
        network: the circuit; ``gncn`` only.
        settling: how states settle; ``gncn`` only.
        training: how synapses learn; not ``gmm``.
        backprop: sizes and objectives of baselines trained by backprop.
        mixture: the mixture; ``gmm`` only.
    """

    spoken: ClassVar[str] = "a configuration"
    data: DataConfig = DataConfig()

    @model_validator(mode="after")
    def _refuse_idle_options(self) -> "Config":
        """Refuse a value that differs from its default but would have no effect."""
        if self.model not in MODEL_KINDS:
            raise unknown_choice("model", self.model, MODEL_KINDS)
        # What has no effect is refused by whoever knows: first whole sections, then the kind's
        # options.
        for section, names, why in self._idle_options():
            refuse_idle(getattr(self, section), names, why, f"{section}.")
        self.kind.check(self)
        return self

    @property
    def kind(self) -> ModelKind:
        """The kind of the model, which `models`, `n_synapses` and `describe` ask."""
        return MODEL_KINDS[self.model]

    def _idle_options(self) -> Iterator[tuple[str, tuple[str, ...], str]]:
        """Options that have no effect: their section, their names and why."""
        for section in _OPTIONAL:
            if section not in self.kind.sections:
                options = getattr(self, section)
                # Options of parts are extra fields; a chain has those that were given.
                names = (*type(options).model_fields, *(options.model_extra or {}))
                yield section, names, f"with model={self.model!r}"
        yield from self.kind.idle(self)

    def with_whole_paths(self) -> "Config":
        """The same configuration with absolute paths."""
        return self.model_copy(update={"data": self.data.with_whole_paths()})

    def models(self, data: Dataset) -> list[Any]:
        """Fresh models, one for each trial."""
        return self.kind.models(self, data)

    def n_synapses(self, data: Dataset) -> int | None:
        """How many numbers a model learns; None for one without synapses."""
        return self.kind.n_synapses(self, data)

    def describe(self, data: Dataset) -> str:
        """The model's layers and synapses in a few words."""
        return self.kind.describe(self, data)

    def to_toml(self) -> str:
        """The configuration as TOML: every option that has an effect, defaults included."""
        shown = ("data", *self.kind.sections)
        plain = {"model": self.model, "seed": self.seed, "n_trials": self.n_trials}
        values: dict[str, Any] = plain | {name: getattr(self, name).resolved() for name in shown}
        for section, names, _ in self._idle_options():
            for name in names:
                # Options without effect are left out, or reading the file again would refuse them.
                values.get(section, {}).pop(name, None)
        return write_toml(values)


def preset_names() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    return packaged_names(_PRESETS)


def read_settings(*, preset: str | None = None, file: str | Path | None = None) -> dict[str, Any]:
    """The settings of a preset with a TOML file's laid over them, unchecked, without defaults.

    Raises:
        ConfigError: unknown preset, or a file that can't be read or isn't TOML.
    """
    if preset is not None and preset not in preset_names():
        raise unknown_choice("preset", preset, preset_names())
    values = {} if preset is None else packaged(_PRESETS, preset)
    return values if file is None else overlay(values, read_toml(place(file)))


def load_config(
    *, preset: str | None = None, file: str | Path | None = None, overrides: Sequence[str] = ()
) -> Config:
    """Read a configuration and check it.

    Args:
        preset: name of a preset to begin with.
        file: a TOML file laid over it.
        overrides: single values laid over that, such as ``"training.n_epochs=3"``.  A value is
            read as TOML, and as plain text if it isn't TOML.

    Raises:
        ConfigError: unknown preset, option or value, or a file that isn't TOML.
    """
    # Without the preset, too, so that an error can say which options came from there.
    values, given = read_settings(preset=preset, file=file), read_settings(file=file)
    for override in overrides:
        values, given = (overlay(some, parse_override(override)) for some in (values, given))
    try:
        return Config(**values)
    except ConfigError as error:
        raise ConfigError(f"{error}{_blame(preset, given, str(error))}") from None


def _blame(preset: str | None, given: dict[str, Any], problem: str) -> str:
    """A sentence, where a problem names options that come from the preset: which, and what to do.

    Args:
        preset: its name.
        given: what was given besides.
        problem: in words.
    """
    settings = {} if preset is None else packaged(_PRESETS, preset)

    def is_named(section: str, name: str) -> bool:
        # In a list of all options a name is quoted; "name" and "norm" are common words, too.
        word = name if "_" in name else f"({section}[.]{name}|{name}(?==))"
        return re.search(rf"(?<!['\w]){word}(?!['\w])|'{name}':", problem) is not None

    found = [
        f"{section}.{name}={quoted(value)}"
        # A section that is no table has an error of its own.
        for section, options in settings.items()
        if isinstance(options, dict) and isinstance(given.get(section, {}), dict)
        for name, value in options.items()
        if is_named(section, name) and name not in given.get(section, {})
    ]
    if not found:
        return ""
    model, own = given.get("model"), settings.get("model", "gncn")
    if model not in (None, own):
        advice = (
            f"It is for the model {own!r}. Start from --preset {model}, and choose the data by "
            f"--data {settings.get('data', {}).get('name', 'NAME')}."
        )
    else:
        advice = "Set what fits, too, or start from another preset or a file of your own."
    return f" The preset {preset!r} gives {', '.join(found)}. {advice}"
