"""TOML files of settings, the user's and the library's, and overrides of single settings."""

import re
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from gncn.base.errors import ConfigError, did_you_mean, quoted, shortened
from gncn.base.extras import needs
from gncn.base.files import MAX_DEPTH, check_values, place, read_bytes

MAX_BYTES = 1 << 20
"""The library's largest TOML file has 8,000 bytes."""
MAX_SIGNS = 20_000
"""Signs that come with a key or value: ``= , [ { .``  The library's largest file has 528 of them,
and tomllib takes a millisecond and 5 kB for ten keys."""
MAX_DOTS = 200
"""Dots in a line.  The parts of a key stand between them, and tomllib takes the square of their
number in time and memory."""


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a TOML file.

    Raises:
        ConfigError: it can't be read, is too large, or isn't TOML.
    """
    try:
        # Some editors begin a file with a mark of its encoding.
        return parse_toml(read_bytes(path, MAX_BYTES, ConfigError).decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        if isinstance(error, ConfigError):
            raise
        raise ConfigError(f"{path} is not TOML: {shortened(str(error), 200)}.") from error


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a text in TOML.

    Raises:
        ValueError: it isn't TOML, or there is too much of it; says why.
        RecursionError: it is nested too deeply.
    """
    # Counted before parsing, which a hostile file could make very slow.
    if sum(map(text.count, "=,[{.")) > MAX_SIGNS:
        raise ValueError(f"it has more than {MAX_SIGNS:,} keys and values")
    if max(line.count(".") for line in text.split("\n")) > MAX_DOTS:
        raise ValueError(f"a line has more than {MAX_DOTS} dots")
    found = tomllib.loads(text)
    check_values(found)
    return found


def write_toml(values: Mapping[str, Any]) -> str:
    """Settings as TOML.  TOML has no null, so options that are None are left out."""
    needs("tomli_w", "cli")
    import tomli_w

    def without_none(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: without_none(v) for k, v in value.items() if v is not None}
        return [without_none(v) for v in value] if isinstance(value, list | tuple) else value

    text = tomli_w.dumps(without_none(values))
    # Bytes of a file name that are no text; TOML is UTF-8.
    if found := re.search("[\ud800-\udfff]", text):
        line = text.splitlines()[text.count("\n", 0, found.start())]
        raise ConfigError(f"TOML can't hold a name whose bytes are no text ({line}). Rename it.")
    return text


def packaged_names(folder: str) -> tuple[str, ...]:
    """Names of the TOML files in a folder of the library: presets, studies or searches.

    Args:
        folder: the folder within the package: for instance ``"runs/presets"``.
    """
    files = resources.files("gncn").joinpath(folder).iterdir()
    return tuple(sorted(Path(f.name).stem for f in files if f.name.endswith(".toml")))


def packaged(folder: str, name: str) -> dict[str, Any]:
    """The content of one of these files."""
    file = resources.files("gncn").joinpath(folder, f"{name}.toml")
    return tomllib.loads(file.read_text(encoding="utf-8"))


def read_packaged(folder: str, kind: str, name: str | Path) -> dict[str, Any]:
    """The content of a user's file that ends in .toml, or of one of the library's, by its name.

    Args:
        folder: see `packaged_names`.
        kind: what the files are, for the error's text: "study", for instance.
        name: the path or name.

    Raises:
        ConfigError: there is no such file, or it isn't TOML.
    """
    if str(name) in packaged_names(folder):
        return packaged(folder, str(name))
    if Path(name).suffix == ".toml":
        return read_toml(place(name))
    names, close = packaged_names(folder), did_you_mean(str(name), packaged_names(folder))
    listed = ", ".join(map(repr, names))
    raise ConfigError(
        f"Unknown {kind} {quoted(str(name))}.{close} Give a .toml file or one of: {listed}."
    )


def overlay(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings laid over others, section by section."""
    merged = dict(below)
    for key, value in above.items():
        under = merged.get(key)
        if isinstance(under, dict) and isinstance(value, dict):
            value = overlay(under, value)
        merged[key] = value
    return merged


def parse_override(override: str) -> dict[str, Any]:
    """The settings that an override such as ``"training.n_epochs=3"`` stands for.

    The value is read as TOML, or as plain text if it isn't TOML.

    Raises:
        ConfigError: it isn't written ``name=value``, or sets several options.
    """
    name, equals, text = override.partition("=")
    if not equals or not name.strip():
        raise ConfigError(
            f"An override is written name=value, such as training.n_epochs=3; received "
            f"{quoted(override)}."
        )
    # "3" and "true" are TOML; a plain word isn't, and is meant as text.
    try:
        parsed = parse_toml(f"value = {text}")
    except (ValueError, RecursionError):
        parsed = {"value": text.strip()}
    # A line break in the value could set further options.
    if set(parsed) != {"value"}:
        raise ConfigError(
            f"An override sets one option; received several lines: {quoted(override)}."
        )
    nested: Any = parsed["value"]
    parts = name.strip().split(".")
    if len(parts) > MAX_DEPTH:
        raise ConfigError(f"No option has a name of {len(parts):,} parts: {quoted(name)}.")
    for part in reversed(parts):
        nested = {part: nested}
    return nested
