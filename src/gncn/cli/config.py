"""``gncn config``: every option that a configuration has."""

import json
import re
from typing import Annotated, Any

from typer import Argument

from gncn.base.errors import ConfigError, did_you_mean, quoted
from gncn.base.files import jsonable
from gncn.cli import options


def config(
    names: Annotated[
        list[str] | None,
        Argument(
            metavar="[NAME]...",
            help="Only these: a section, such as `training`, or an option, such as `n_epochs`.",
        ),
    ] = None,
    as_json: options.JsonOption = False,
) -> None:
    """List every option with its meaning and default, section by section.

    Sections are the same as in the TOML file for `gncn train --config`; single options are given by
    `--set`, such as `--set training.n_epochs=3`. Which options apply depends on the model.

    **Examples**

    `gncn config training`

    `gncn config group_size feedback`
    """
    from gncn.runs.options import all_options

    found = all_options()
    # A section, an option with its section, or an option alone.
    known = {part for one in found for part in (one.section, one.name, one.name.split(".")[-1])}
    for name in names or ():
        if name not in known or not name:
            sections = ", ".join(dict.fromkeys(one.section for one in found if one.section))
            raise ConfigError(
                f"Unknown section or option {quoted(name)}.{did_you_mean(name, known)} Sections: "
                f"{sections}. `gncn config` lists all options."
            )
    chosen = [
        one
        for one in found
        if not names or {one.section, one.name, one.name.split(".")[-1]} & {*names}
    ]
    if as_json:
        options.print_json([_plain(one) for one in chosen])
        return
    for section in dict.fromkeys(one.section for one in chosen):
        title = f"[{section}]" if section else "above all sections"
        table = options.new_table(title, ("option", "default", "meaning"), ())
        for one in chosen:
            if one.section == section:
                takers = f" (Of {', '.join(one.taken_by)}.)" if one.taken_by else ""
                meaning = re.sub(r"`+|\*(?=\w)|(?<=\w)\*", "", one.meaning) + takers
                table.add_row(one.name.split(".")[-1], _shown(one), meaning)
        options.print_table(table)


def _plain(option: Any) -> dict[str, Any]:
    return {"section": option.section, **option._asdict(), "default": _value(option.default)}


def _value(default: Any) -> Any:
    """A default in JSON's types; a part becomes its name."""
    from gncn.base.description import Part
    from gncn.core.settler import SETTLERS, Settler

    if isinstance(default, Settler):
        return SETTLERS.name_of(type(default))
    return default.resolved() if isinstance(default, Part) else jsonable(default)


def _shown(option: Any) -> str:
    if option.needed:
        return "required"
    value = _value(option.default)
    return "–" if value is None else value if isinstance(value, str) else json.dumps(value)
