"""The command line, ``gncn``; errors are reported in one place."""

import sys

from gncn.base.errors import GncnError
from gncn.base.extras import needs
from gncn.base.interrupts import signals_heard

WRONG_INPUT, FAILED = 2, 1


def main() -> None:
    """Run the command line; turn expected errors into a message and an exit status.

    The status is 2 for input that can't be used, 1 for a run that diverged, and 128 with a
    signal's number for one that ended the command: 130 for Ctrl-C.
    """
    with signals_heard():
        try:
            for module in ("typer", "rich"):
                needs(module, "cli")
            from gncn.base import hardware
            from gncn.data import cache_dir

            hardware.keep_compiled_programs(cache_dir() / "compiled")
            from gncn.cli.app import app

            app()
        except GncnError as error:
            _print_error(str(error))
            sys.exit(FAILED if isinstance(error, ArithmeticError) else WRONG_INPUT)


def _print_error(message: str) -> None:
    try:
        from rich.console import Console
        from rich.markup import escape
    except ModuleNotFoundError:  # its absence may be what the message is about
        sys.stderr.write(f"Error: {message}\n")
    else:
        Console(stderr=True).print(f"[bold red]Error:[/] {escape(message)}", highlight=False)
