"""Presets: configurations that come with the library, and how they combine with a file."""

from pathlib import Path
from typing import Any

from gncn.base.errors import unknown_choice
from gncn.runs.toml import overlay, packaged, packaged_names, read_toml

_FOLDER = "runs.presets"


def preset_names() -> tuple[str, ...]:
    """Names of the presets, sorted."""
    return packaged_names(_FOLDER)


def read_settings(*, preset: str | None = None, file: str | Path | None = None) -> dict[str, Any]:
    """The settings of a preset with those of a TOML file laid over them.

    They are not checked, and defaults are not filled in.

    Raises:
        ConfigError: unknown preset, or a file that can't be read or isn't TOML.
    """
    values: dict[str, Any] = {}
    if preset is not None:
        if preset not in preset_names():
            raise unknown_choice("preset", preset, preset_names())
        values = packaged(_FOLDER, preset)
    if file is not None:
        values = overlay(values, read_toml(Path(file)))
    return values
