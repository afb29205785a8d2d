"""The command line, ``gncn``: one module for each command, errors told in one place."""

import os
import sys

import typer
from rich.console import Console

from gncn.base.errors import GncnError

WRONG_INPUT, FAILED, INTERRUPTED = 2, 1, 130


def main() -> None:
    """Run the command line; turn expected errors into a message and an exit status.

    The status is 2 for input that can't be used, 1 for a run that diverged, and 130
    for Ctrl-C.
    """
    console = Console(stderr=True)
    try:
        keep_compiled_programs()
        from gncn.cli.app import app

        app()
    except GncnError as error:
        console.print(f"[bold red]Error:[/] {_escape(str(error))}", highlight=False)
        sys.exit(FAILED if isinstance(error, ArithmeticError) else WRONG_INPUT)
    except KeyboardInterrupt:
        console.print("Interrupted.")
        sys.exit(INTERRUPTED)
    except SystemExit as ended:
        if _by_ctrl_c(ended):  # Typer ends the process without a word
            console.print("Interrupted.")
        raise


def _by_ctrl_c(ended: SystemExit) -> bool:
    """Whether an exit is what became of an interrupt that no command dealt with."""
    cause: BaseException | None = ended
    while cause is not None:
        if isinstance(cause, KeyboardInterrupt):
            return True
        cause = cause.__cause__ or cause.__context__
    return False


def keep_compiled_programs() -> None:
    """Let JAX keep compiled programs in the user's cache, unless told where else to.

    ``JAX_COMPILATION_CACHE_DIR`` names another folder; the cache is ``GNCN_CACHE`` or the
    system's.  A folder that can't be written costs a warning and the time to compile.
    """
    import jax

    from gncn.data import cache_dir

    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        jax.config.update("jax_compilation_cache_dir", str(cache_dir() / "compiled"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


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
