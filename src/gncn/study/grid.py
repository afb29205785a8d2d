"""Files of studies and searches: where their paths begin, and the models that a `Grid` makes."""

import math
from itertools import product
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from gncn.base.description import Description
from gncn.base.errors import ConfigError
from gncn.base.files import place, short_hash
from gncn.runs.toml import packaged_names, read_packaged

MAX_MODELS = 10_000


def read_plan(folder: str, kind: str, name: str | Path) -> dict[str, Any]:
    """A study's or search's TOML file, unchecked, as `gncn.runs.toml.read_packaged` finds it.

    Relative paths of data in a user's file begin at the folder of that file.
    """
    values = read_packaged(folder, kind, name)
    sets = values.get("data")
    # The library's own files name data sets, not paths.
    if str(name) in packaged_names(folder) or not isinstance(sets, dict):
        return values
    home = place(name).absolute().parent
    for entry in sets.values():
        settings = entry.get("settings") if isinstance(entry, dict) else None
        if not isinstance(settings, dict):
            continue
        for option in ("name", "data_dir"):
            path = settings.get(option)
            # Data sets by name have no suffix, and stay as they are.
            if isinstance(path, str) and (option == "data_dir" or Path(path).suffix):
                settings[option] = str(home / place(path))
    return values


class Grid(Description):
    """Settings that make several models of one entry of a study's ``[models]``.

    Attributes:
        grid: several values of each setting, by name such as ``training.learning_rate``; there is
            a model for every combination.
        points: values of some settings together; there is a model for each, and for each
            combination with `grid`.
    """

    grid: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default_factory=dict)
    points: tuple[dict[str, Any], ...] = ()

    @model_validator(mode="after")
    def _of_models(self) -> "Grid":
        """Refuse what the study itself decides."""
        for name in {*self.grid, *(name for point in self.points for name in point)}:
            if name.partition(".")[0] in ("seed", "n_trials", "data"):
                raise ConfigError(
                    f"{name} can't differ between models: seeds come from the study's seed and "
                    "trials, data from its [data]."
                )
        return self

    def models(self, key: str, entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The entry once for every point, under a name that depends on the point alone.

        Raises:
            ConfigError: there are too many.
        """
        # Counted before they are made: a few long lists multiply to millions.
        n_models = math.prod(map(len, self.grid.values())) * max(len(self.points), 1)
        if n_models > MAX_MODELS:
            raise ConfigError(
                f"models.{key} stands for {n_models:,} models; a study has {MAX_MODELS:,} at most."
            )
        combinations = [
            point | dict(zip(self.grid, values, strict=True))
            for point in self.points or ({},)
            for values in product(*self.grid.values())
        ]
        # The name depends on the point alone, so records stay valid when others are added.
        return {f"{key}-{short_hash(point, 8)}": entry | {"point": point} for point in combinations}


def placed(settings: dict[str, Any], name: str, value: Any) -> dict[str, Any]:
    """A copy of settings with one changed: ``training.n_epochs``, or ``network.sizes.2`` of a list.

    Raises:
        ConfigError: the name leads nowhere.
    """
    return _placed(settings, name.split("."), value, name)


def _placed(into: Any, path: list[str], value: Any, name: str) -> Any:
    if not path:
        return value
    first, *rest = path
    # Lists and dictionaries are copied on the way: points share their settings.
    if isinstance(into, list) and first.isdigit() and int(first) < len(into):
        index = int(first)
        return [*into[:index], _placed(into[index], rest, value, name), *into[index + 1 :]]
    if first.isdigit() or not (into is None or isinstance(into, dict)):
        raise ConfigError(f"There is no setting {name!r}: {first!r} is no part of {into!r}.")
    into = into or {}
    return into | {first: _placed(into.get(first), rest, value, name)}
