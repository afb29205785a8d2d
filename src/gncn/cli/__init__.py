"""The command line, ``gncn``: one module for each command, errors told in one place."""

import sys

import typer
from rich.console import Console

from gncn.errors import GncnError

WRONG_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def main() -> None:
    """Run the command line; turn expected errors into a message and an exit status.

    The status is 2 for input that can't be used, 1 for a run that diverged, and 130
    for Ctrl-C.
    """
    from gncn.cli.app import app

    console = Console(stderr=True)
    try:
        app()
    except GncnError as error:
        console.print(f"[bold red]Error:[/] {_escape(str(error))}", highlight=False)
        sys.exit(FAILED if isinstance(error, ArithmeticError) else WRONG_INPUT)
    except KeyboardInterrupt:
        console.print("Interrupted.")
        sys.exit(INTERRUPTED)


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def make_typer(help_text: str) -> typer.Typer:
    """A Typer application with the conventions that all commands share."""
    return typer.Typer(
        help=help_text,
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        add_completion=False,
    )
