"""The command line, ``gncn``; errors are reported in one place."""

import sys

from gncn.base.errors import GncnError
from gncn.base.extras import needs

WRONG_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def main() -> None:
    """Run the command line; turn expected errors into a message and an exit status.

    The status is 2 for input that can't be used, 1 for a run that diverged, and 130
    for Ctrl-C.
    """
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
    except KeyboardInterrupt:
        sys.stderr.write("Interrupted.\n")
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        if _by_ctrl_c(ended):  # Typer exits without a message
            sys.stderr.write("Interrupted.\n")
        raise


def _print_error(message: str) -> None:
    try:
        from rich.console import Console
        from rich.markup import escape
    except ModuleNotFoundError:  # its absence may be what the message is about
        sys.stderr.write(f"Error: {message}\n")
    else:
        Console(stderr=True).print(f"[bold red]Error:[/] {escape(message)}", highlight=False)


def _by_ctrl_c(ended: SystemExit) -> bool:
    """Whether an interrupt that no command handled led to this exit."""
    cause: BaseException | None = ended
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
