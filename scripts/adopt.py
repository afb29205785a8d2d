"""Put the settings that a search chose into a study's file.

``python scripts/adopt.py results/search/paper src/gncn/study/studies/paper.toml`` writes a table
``[models.MODEL.on.DATA]`` for every model and data set that was searched, in place of the one
that is there.  It has what differs between the search's best trial and the model's own entry.
"""

import argparse
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gncn.base.errors import GncnError
from gncn.base.files import read_json, write_atomic
from gncn.runs.config import load_config
from gncn.study.plan import Study

DIGITS = 4
"""Significant digits of a setting: more than a search of 30 trials can tell apart."""
_SECTIONS = ("network", "settling", "training", "backprop", "mixture")
Best = Mapping[tuple[str, str], dict[str, Any]]


def adopted(text: str, best: Best) -> str:
    """The text of a study's file with the best settings of each model and data set."""
    for (model, data), wanted in best.items():
        table = rf"^\[models\.{re.escape(model)}\.on\.{re.escape(data)}\]\n(?:[^\[\n].*\n|\n)*"
        text = re.sub(table, "", f"{text.rstrip()}\n", flags=re.M)
        (spec,) = Study(**tomllib.loads(text)).runs(only=[f"{model}/{data}/0"])
        own = tomllib.loads(spec.config.to_toml())
        lines = [f"settings.{name} = {json.dumps(one)}" for name, one in _changes(own, wanted)]
        # After all that the file says of the model so far.
        *_, last = re.finditer(
            rf"^\[\[?models\.{re.escape(model)}[.\]].*\n(?:[^\[\n].*\n|\n)*", text, re.M
        )
        parts = (
            text[: last.end()],
            f"[models.{model}.on.{data}]\n" + "\n".join(lines),
            text[last.end() :],
        )
        text = "\n\n".join(part.strip("\n") for part in parts if part.strip())
    return f"{text.rstrip()}\n"


def best_of(folder: Path) -> Best:
    """The best configuration, rounded, of each model and data set in a search's folder."""
    found = {}
    for path in sorted(folder.glob("*-best.toml")):
        summary = read_json(path.with_name(path.name.replace("-best.toml", ".json")))
        if summary["trials_spent"] < summary["trials_allowed"]:
            continue  # a search under way has chosen nothing
        config = tomllib.loads(load_config(file=path).to_toml())
        name = config["data"]["name"]
        found[summary["model"], name] = {one: _rounded(config.get(one, {})) for one in _SECTIONS}
    return found


def _changes(own: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, options in wanted.items():
        for name, value in options.items():
            if _rounded(own[section].get(name)) != value:
                yield f"{section}.{name}", value


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _rounded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_rounded(one) for one in value]
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def main() -> None:
    """Adopt what the folder of a search says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("search", type=Path, help="folder of the search's records")
    parser.add_argument("study", type=Path, help="the study's TOML file, which is written again")
    given = parser.parse_args()
    try:
        best = best_of(given.search)
        text = adopted(given.study.read_text(encoding="utf-8"), best)
        write_atomic(given.study, text)
    except (GncnError, OSError) as error:
        parser.error(str(error))
    print("adopted:", ", ".join(f"{model}/{data}" for model, data in best) or "nothing")


if __name__ == "__main__":
    main()
