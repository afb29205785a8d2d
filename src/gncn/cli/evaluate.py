"""``gncn evaluate``: measure a trained network, honestly."""

import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any, get_args, get_origin

from typer import Option

from gncn.base.errors import MOST_SEED, ConfigError
from gncn.base.screen import say
from gncn.cli import options
from gncn.measures import MEASURES, make_measures, refuse_idle_settings, setting_fields

_BOUNDS = (("min", "ge"), ("max", "le"))
"""Of numbers, as Typer and as Pydantic call them."""


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each setting of the registered measures.

    Typer reads the options from the signature, in which they take the place of
    ``**settings``: ``n_samples`` becomes ``--samples``, ``probe_layer`` ``--probe-layer``.
    """
    signature = inspect.signature(command)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    extra = [_option(name, option) for name, option in setting_fields().items()]
    # The signature is what Typer reads; the command itself takes any settings.
    command.__signature__ = signature.replace(parameters=[*own, *extra])  # type: ignore[attr-defined]
    return command


def _flag(name: str) -> str:
    return f"--{name.removeprefix('n_').replace('_', '-')}"


def _option(name: str, option: Any) -> inspect.Parameter:
    """The option of the command line for a setting; None if it isn't given."""
    several = get_origin(option.annotation) is tuple
    kind = get_args(option.annotation)[0] if several else option.annotation
    of_each = get_args(kind)[1:] if several else ()  # what is said of each value of a list
    # `int | None` counts as int.
    kind = next((one for one in (bool, int, float) if one in (kind, *get_args(kind)[:1])), str)
    flag = _flag(name)
    default = option.get_default()
    shown = " ".join(map(str, default)) if several else "" if default is None else str(default)
    note = f"Default: {shown}." if shown else ""
    text = [option.description or "", "May be repeated." if several else "", note]
    declared = f"{flag}/--no{flag[1:]}" if kind is bool else flag
    # Typer names an option as it is typed; bounds that it doesn't know are checked later.
    stated = [*option.metadata, *(one for field in of_each for one in field.metadata)]
    bounds = {key: getattr(one, of) for one in stated for key, of in _BOUNDS if hasattr(one, of)}
    annotation = Annotated[
        # None tells an option that wasn't given from its default, so earlier settings can stay.
        (list[kind] if several else kind) | None,  # type: ignore[valid-type]
        Option(declared, help=" ".join(filter(None, text)), **bounds),
    ]
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation
    )


@_with_settings
def evaluate(
    run: options.RunArgument,
    *,
    split: Annotated[
        str, Option(help="Images to report on: `validation` while choosing, `test` once.")
    ] = "validation",
    only: Annotated[
        list[str] | None,
        Option(
            help="Measure only this; may be repeated. One of: "
            f"{', '.join(f'`{name}`' for name in MEASURES.names())}. Default: all but `codes`, "
            "which compares the model's codes with simpler features and takes longest."
        ),
    ] = None,
    seed: Annotated[int, Option(help="Of all that is random here.", min=0, max=MOST_SEED)] = 0,
    trial: options.TrialOption = 0,
    replace: Annotated[bool, Option("--replace", help="Drop what was measured before.")] = False,
    data_dir: options.DataDirOption = None,
    wait: options.WaitOption = False,
    as_json: options.JsonOption = False,
    **settings: Any,
) -> None:
    """Measure a trained model: likelihood, samples, completion, probe, sparsity, codes.

    Writes `metrics-SPLIT.json` and figures to the run folder, the prior to the model's folder,
    and prints a table. Numbers measured before with the same settings stay. Choose settings by
    `validation`; look at `test` once.

    **Examples**

    `gncn evaluate runs/mnist`

    `gncn evaluate runs/mnist --split test --only likelihood --only probe`

    `gncn evaluate runs/mnist --only probe --probe-layer 1 --probe-layer 2 --probe-layer 3`

    `gncn evaluate runs/mnist --only codes`
    """
    from gncn.base.interrupts import last_words
    from gncn.base.progress import shown_progress
    from gncn.runs import assess as assessing
    from gncn.runs.folder import RunFolder

    given = {
        name: tuple(value) if isinstance(value, list) else value
        for name, value in settings.items()
        if value not in (None, [])
    }
    # Refused before data are loaded, by the names that were typed.
    try:
        chosen = make_measures(tuple(only) if only else None, given)
        refuse_idle_settings(given, chosen)
    except ConfigError as error:
        name, value = r"^(The setting )?(\w+)", r"(=.*(?= has no effect))?"
        found = re.match(name + value, str(error))
        if found is None or found[2] not in given:
            raise
        several = given[found[2]] if isinstance(given[found[2]], tuple) else (given[found[2]],)
        each = [f"{_flag(found[2])} {one}" for one in several]
        typed = " ".join(each) if found[3] else _flag(found[2])
        raise ConfigError(typed + str(error)[found.end() :]) from None
    folder = RunFolder.open(run)
    data = folder.data(data_dir)
    options.say_if_unfinished(folder)
    with (
        last_words(lambda: assessing.kept(folder, split, trial)),
        shown_progress(True, "measuring") as report,
    ):
        metrics, figures = assessing.assess(
            folder,
            data,
            split=split,
            only=only or None,
            settings=given,
            seed=seed,
            trial=trial,
            replace=replace,
            wait=wait,
            report=report,
        )
    if as_json:
        options.print_json(metrics)
        return
    _show(metrics, only)
    if figures:
        say("Figures:", *(f"  {figure}" for figure in figures))


def _show(metrics: dict[str, Any], only: list[str] | None) -> None:
    from gncn.runs.evaluation import Evaluation

    found = Evaluation(metrics, only=only or None)
    table = options.new_table(found.title, ("measure",), ("value",))
    table.add_column("remark", style="dim")
    for row in found.rows:
        table.add_row(*row)
    options.print_table(table)
    say(*found.notes, style="dim")
    if found.others:
        say(f"Kept from earlier evaluations: {', '.join(found.others)}. --json shows them, too.")
