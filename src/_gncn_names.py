"""Completion of names in a shell: commands, presets, models, measures, data sets, studies.

Like `_gncn` it stands outside the package, so that a press of Tab doesn't wait for JAX.  Tests
compare the names with the package's own.
"""

import inspect
import os
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

MODELS = ("gncn", "rae", "gvae", "gvae-cv", "gan-ae", "gmm", "dsrn")
MEASURES = (
    *("likelihood", "tight", "samples", "completion", "yardsticks", "codes", "probe", "sparsity"),
    "embedding",
)
SPLITS = ("train", "validation", "test")
FORMATS = ("text", "markdown", "latex", "csv", "json")
LOGS = ("csv", "jsonl", "tensorboard", "trackio", "wandb")
SECTIONS = ("network", "settling", "training", "backprop", "mixture", "data")


def _package() -> Path:
    found = find_spec("gncn")  # finds a package without importing it
    assert found is not None
    assert found.origin is not None
    return Path(found.origin).parent


def files(folder: str) -> tuple[str, ...]:
    """Names of the TOML files in a folder of the package."""
    return tuple(sorted(path.stem for path in (_package() / folder).glob("*.toml")))


def data_sets() -> tuple[str, ...]:
    """Names of the data sets."""
    text = (_package() / "data" / "assets" / "datasets.toml").read_text(encoding="utf-8")
    return tuple(tomllib.loads(text))


Names = Callable[[], tuple[str, ...]]
_SPLIT: dict[str, Names] = {"--split": lambda: SPLITS}
NAMED: dict[str, dict[str, Names]] = {
    "train": {
        "--model": lambda: MODELS,
        "--preset": lambda: files("runs/presets"),
        "--data": data_sets,
        "--log": lambda: LOGS,
    },
    "reconstruct": _SPLIT,
    "settle": _SPLIT,
    "evaluate": {"--split": lambda: SPLITS[1:], "--only": lambda: MEASURES},
    "export": _SPLIT,
    "compare": {"--split": lambda: SPLITS[1:], "--format": lambda: FORMATS},
    "reproduce": {"": lambda: files("study/studies")},
    "report": {"--study": lambda: files("study/studies")},
    "tune": {"": lambda: files("study/searches")},
    "config": {"": lambda: SECTIONS},
    "data": {"list": tuple, "fetch": data_sets, "verify": data_sets},
}
"""Names that each command's options take; under "" those that the command itself takes.

Of ``data`` these are its own commands, and what they take."""


def completed(app: typer.Typer, commands: dict[str, str]) -> None:
    """Print how the command line that a shell asks about could go on, and end the process."""
    for name, short in commands.items():
        if name == "data":
            inner = typer.Typer(help=short)
            for one, names in NAMED[name].items():
                inner.command(one, context_settings=_LENIENT)(_command({"": names}))
            app.add_typer(inner, name=name)
        else:
            app.command(name, help=short, context_settings=_LENIENT)(_command(NAMED[name]))
    app(prog_name="gncn")


def wants_names() -> bool:
    """Whether a shell asks for names, and not for a command's options, which the package knows."""
    if not os.environ.get("_GNCN_COMPLETE", "").startswith("complete_"):
        return False
    line = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    word = line.rpartition(" ")[2]
    return not word.startswith("-") or "=" in word


_LENIENT = {"ignore_unknown_options": True, "allow_extra_args": True}


def _command(named: dict[str, Names]) -> Callable[..., None]:
    """A command that does nothing but know the names that its options take."""

    def command(**_: Any) -> None:
        pass

    def parameter(option: str, names: Names) -> inspect.Parameter:
        def offered(incomplete: str) -> list[str]:
            return [name for name in names() if name.startswith(incomplete)]

        takes: dict[str, Any] = {"autocompletion": offered}
        info = typer.Option(option, **takes) if option else typer.Argument(**takes)
        return inspect.Parameter(
            option.removeprefix("--") or "names",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[list[str] | None, info],
        )

    found = [parameter(*pair) for pair in named.items()]
    command.__signature__ = inspect.Signature(found)  # type: ignore[attr-defined]
    return command
