"""`Basis` and what is built on it: how the models of a study or a search are made."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from gncn.base.description import Description
from gncn.runs.presets import read_settings
from gncn.runs.toml import overlay

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]*$"
Key = Annotated[str, Field(pattern=NAME)]
"""What names files."""


class Basis(Description):
    """How a model is made: a preset or a file, and settings laid over it.

    Attributes:
        preset: name of a preset.
        config: a TOML file, relative to the file of the study or search.
        settings: laid over both, in the sections of a configuration.
    """

    preset: str | None = None
    config: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)

    def read(self, variant: "Basis", folder: Path | None) -> dict[str, Any]:
        """Settings, unchecked and without defaults.

        Args:
            variant: what differs: its settings are laid over these, but a preset or file
                of its own replaces those here.
            folder: what files are relative to.

        Raises:
            ConfigError: an unknown preset, or a file that isn't TOML.
        """
        basis = variant if variant.preset or variant.config else self
        file = None if basis.config is None else (folder or Path()) / basis.config
        values = read_settings(preset=basis.preset, file=file)
        return overlay(overlay(values, self.settings), variant.settings)


class Recipe(Basis):
    """How the runs of a model are made.

    Attributes:
        trials: number of trials; the data set's or the study's if None.
        minutes: about how long a run takes, for estimates before any has ended.
    """

    trials: int | None = Field(default=None, ge=1)
    minutes: float | None = Field(default=None, gt=0)


class Variant(Recipe):
    """A model on one data set: whatever differs; a preset or file replaces the model's.

    Attributes:
        skip: leave the data set out.
    """

    skip: bool = False


class StudyModel(Recipe):
    """A model of the study.

    Attributes:
        title: its name in the report.
        on: what differs on single data sets.
    """

    title: str = ""
    on: dict[str, Variant] = Field(default_factory=dict)
