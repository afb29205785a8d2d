"""The command line, ``gncn``; errors are reported in one place."""

import io
import os
import re
import sys
import warnings
from contextlib import redirect_stderr, suppress
from pathlib import Path
from typing import Any

from gncn.base.errors import GncnError, did_you_mean, quoted
from gncn.base.extras import needs
from gncn.base.interrupts import signals_heard
from gncn.base.notices import Notice
from gncn.base.shown import ERRORS, shown

WRONG_INPUT, FAILED = 2, 1

_NUMBER = re.compile(r"(.+?: )(.+) is not (a valid (?:integer|float)|in the range .+?)( range)?\.")
"""What an older Typer says of a number: Click reads it there, and Pydantic in newer ones."""


class _Messages:
    """Standard error that drops what can't be written: nobody reads it, or a disk is full."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()


def main() -> None:
    """Run the command line; turn expected errors into a message and an exit status.

    The status is 2 for input that can't be used, and 1 for a run that diverged.  If a signal ended
    the command, it is 128 and the signal's number: 130 for Ctrl-C.
    """
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell, as by `>&-`
            nowhere = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 (never closed)
            setattr(sys, name, nowhere)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Signs that the terminal can't show are written as escapes, and don't end the command.
            stream.reconfigure(errors=ERRORS)
    messages: Any = _Messages(sys.stderr)
    with redirect_stderr(messages), signals_heard(), warnings.catch_warnings():
        # Each notice is shown; the library itself says it once.
        warnings.simplefilter("always", Notice)
        warnings.showwarning = _show_warning
        try:
            # Asked first: without them there is no application to import.
            for module in ("typer", "rich"):
                needs(module, "cli")
            from gncn.base import hardware
            from gncn.data import cache_dir

            # Before JAX compiles anything.
            hardware.keep_compiled_programs(cache_dir() / "compiled")
            from gncn.cli.app import app

            # Not standalone, so that errors arrive here and not in Typer.
            sys.exit(app(prog_name="gncn", standalone_mode=False))
        except GncnError as error:
            _print_error(str(error))
            # Divergence is a failure of a run, and the input may be sound.
            sys.exit(FAILED if isinstance(error, ArithmeticError) else WRONG_INPUT)
        except OSError as error:
            names = [one for one in (error.filename, error.filename2) if one is not None]
            where = "".join(f": {os.fsdecode(one)}" for one in names if not isinstance(one, int))
            _print_error(f"{error.strerror or error}{where}.")
            sys.exit(WRONG_INPUT)
        except Exception as error:
            # Typer's own errors have this method; anything else is a defect and keeps its
            # traceback.
            if not hasattr(error, "format_message"):
                raise
            _print_misuse(error)
            sys.exit(WRONG_INPUT)


def _show_warning(message: Any, category: type[Warning], *where: Any) -> None:
    """Print what the library has to say of data as a sentence, and other warnings as ever."""
    if not issubclass(category, Notice):
        sys.stderr.write(warnings.formatwarning(message, category, *where[:2]))
        return
    from gncn.base.screen import say

    say(str(message))


def _print_misuse(error: Any) -> None:
    """Print what the parser of the command line found wrong; Typer would obey signs in it."""
    # Without arguments help has been printed.  Click 8.2.1 names an environment variable, None.
    if message := error.format_message().replace(" (env var: 'None')", ""):
        if (context := getattr(error, "ctx", None)) is not None:
            sys.stderr.write(f"{context.get_usage()}\n")
            sys.stderr.write(f"Try `{context.command_path} --help`.\n")
        # The number that was typed, instead of only the option's name.
        if problems := getattr(error.__cause__, "errors", list)():  # Typer says too little of them
            why = message.partition(", unable to")[0].replace("a valid integer", "a whole number")
            message = f"{why}; received {quoted(problems[0]['input'])}."
        elif options := getattr(error, "possibilities", None):
            message = f"{error.message}.{did_you_mean(error.option_name, options)}"
        elif type(error).__name__ == "MissingParameter":
            about = getattr(error.param, "help", None)
            message = f"{message.rstrip('.')}: {about}" if about else message
        # An older Typer uses other words, and suggests no commands.
        elif found := _NUMBER.fullmatch(message):
            kind = found[3].replace("valid integer", "whole number").replace("float", "number")
            message = f"{found[1]}Input should be {kind}; received {found[2]}."
        elif context and (wrong := re.fullmatch(r"No such command '(.*)'\.", message)):
            message += did_you_mean(wrong[1], context.command.list_commands(context))
        _print_error(message)


def _print_error(message: str) -> None:
    try:
        from gncn.base.screen import say, styled
    except ModuleNotFoundError:  # its absence may be what the message is about
        sys.stderr.write(f"Error: {shown(message)}\n")
    else:
        say(styled(("Error:", "bold red"), f" {message}"))
