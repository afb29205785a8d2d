"""Put the settings that a search chose into a study's file.

``python scripts/adopt.py results/search/paper src/gncn/study/studies/paper.toml`` writes the
settings in the table ``[models.MODEL.on.DATA]`` of every model and data set that the study has and
the search has ended with.  They are what differs between the search's best trial and what the
study's file says otherwise.

Models of one data set must have been searched alike: with as many trials, the same objective and
the same images.  Else nothing is written.
"""

import argparse
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gncn.base.errors import ConfigError, GncnError
from gncn.base.files import read_json, write_atomic
from gncn.runs.config import load_config
from gncn.study.plan import Study

DIGITS = 4
"""Significant digits of a setting: more than a search of 30 trials can tell apart."""
ALIKE = ("trials", "seed", "budget", "objective", "yardsticks of the objective", "images", "finals")
"""What all models of a data set must be searched with."""
_SECTIONS = ("network", "settling", "training", "backprop", "mixture")
_LINES = r"(?:[^\[\n#].*\n)*"
"""What follows a table's heading: all lines up to an empty one, a comment or another heading."""
Best = Mapping[tuple[str, str], dict[str, Any]]


def adopted(text: str, best: Best) -> str:
    """The text of a study's file with the best settings of each model and data set.

    Raises:
        ConfigError: the file is written in a way that this script can't change.
    """
    for (model, data), wanted in best.items():
        heading = f"[models.{model}.on.{data}]\n"
        table = re.compile(f"^{re.escape(heading)}{_LINES}", re.M)
        if not table.search(text):
            # After the model's other tables.
            others = rf"^\[\[?models\.{re.escape(model)}[.\]].*\n{_LINES}"
            *_, last = re.finditer(others, text := f"{text.rstrip()}\n", re.M)
            text = f"{text[: last.end()]}\n{heading}{text[last.end() :]}"
        # What else the table says, such as a preset or a number of trials, stays.
        kept = re.sub(r"^settings\..*\n", "", table.findall(text)[0], flags=re.M)
        bare = table.sub(lambda _, kept=kept: kept, text)
        changes = _changes(bare, model, data, wanted)
        whole = kept + "".join(f"settings.{name} = {json.dumps(one)}\n" for name, one in changes)
        text = table.sub(lambda _, whole=whole: whole, text)
        if left := [name for name, _ in _changes(text, model, data, wanted)]:
            raise ConfigError(
                f"Of {model}/{data} this script can't change {', '.join(left)}. Write it by hand."
            )
    return text


def sources(folder: Path) -> dict[str, set[str]]:
    """The states of the library's code that searches were made with, by data set.

    Raises:
        ConfigError: models were searched or measured by different rules; see `ALIKE`.
    """
    first: dict[str, dict[str, Any]] = {}
    measured: dict[str, dict[str, Any]] = {}
    found: dict[str, set[str]] = {}
    for path in sorted(folder.glob("*.json")):
        summary = read_json(path)
        data = path.stem.removesuffix(f"-{summary['model']}")
        one = first.setdefault(data, summary)
        for what, mine, theirs in zip(ALIKE, _rules(summary), _rules(one), strict=True):
            if mine != theirs:
                raise ConfigError(
                    f"On {data} the searches of {one['model']} and {summary['model']} differ in "
                    f"{what}: {json.dumps(theirs)} and {json.dumps(mine)}. Search both alike "
                    "(`gncn tune`) before adopting either."
                )
        # Only settings that both read can differ.
        known = measured.setdefault(data, {})
        for name, value in summary["searched"]["measuring"].items():
            if known.setdefault(name, value) != value:
                raise ConfigError(
                    f"On {data} the search of {summary['model']} measured with {name}={value!r}, "
                    f"and others with {known[name]!r}. Search all alike before adopting any."
                )
        found.setdefault(data, set()).add(summary["source"])
    return found


def _rules(summary: Mapping[str, Any]) -> list[Any]:
    """What `ALIKE` names, of a search's summary."""
    searched = summary["searched"]
    parts = ("seed", "budget", "objective", "wanted", "data")
    # A search that goes on has spent fewer, and one that was extended may have spent more.
    trials = max(summary["trials_allowed"], summary["trials_spent"])
    # Without a part to learn from there are no finals.
    part = searched["budget"]["train_images"]
    finals = None if part is None else summary.get("final_rules")
    return [trials, *(searched[part] for part in parts), finals]


def best_of(folder: Path) -> Best:
    """The best configuration, rounded, of each model and data set in a search's folder."""
    found = {}
    for path in sorted(folder.glob("*-best.toml")):
        summary = read_json(path.with_name(path.name.replace("-best.toml", ".json")))
        left = summary["trials_allowed"] - summary["trials_spent"] + summary.get("finals_left", 0)
        if left > 0:
            continue  # it may choose others yet
        config = tomllib.loads(load_config(file=path).to_toml())
        data = path.name.removesuffix(f"-{summary['model']}-best.toml")
        found[summary["model"], data] = {one: _rounded(config.get(one, {})) for one in _SECTIONS}
    return found


def _changes(text: str, model: str, data: str, wanted: Mapping[str, Any]) -> Iterator[Any]:
    """The settings that a study's file has otherwise, or not at all, and their values."""
    (spec,) = Study(**tomllib.loads(text)).runs(only=[f"{model}/{data}/0"])
    own = tomllib.loads(spec.config.to_toml())
    for section in _SECTIONS:
        here, there = own.get(section, {}), wanted[section]
        for name in sorted({*here, *there}):
            if _rounded(here.get(name)) != there.get(name):
                yield f"{section}.{name}", there.get(name)


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
        text = given.study.read_text(encoding="utf-8")
        study = Study(**tomllib.loads(text))
        codes = sources(given.search)
        best = best_of(given.search)
        known = {
            (m, d): one for (m, d), one in best.items() if m in study.models and d in study.data
        }
        write_atomic(given.study, adopted(text, known))
    except (GncnError, OSError, tomllib.TOMLDecodeError) as error:
        parser.error(str(error))
    for what, some in (("adopted", known), ("not in the study", best.keys() - known.keys())):
        print(f"{what}:", ", ".join(f"{model}/{data}" for model, data in some) or "nothing")
    for data, states in codes.items():
        print(f"code of the searches on {data}:", ", ".join(sorted(states)))


if __name__ == "__main__":
    main()
