"""The command ``gncn``: from its first line to its last, no signal finds it unprepared.

It stands outside the package, because importing anything of `gncn` imports JAX, for seconds.  So
``gncn --help`` and ``gncn --version`` are answered here, by the list `COMMANDS`.

Interrupted while they are imported, JAX and NumPy end in a traceback; but then nothing has begun
yet, so the process just ends.  `gncn.base.interrupts` is what hears signals from then on.  Nor does
Python hear any while it tidies up: so it isn't left to do so.
"""

import atexit
import io
import os
import signal
import sys
from contextlib import redirect_stdout, suppress
from importlib import metadata
from typing import TYPE_CHECKING, Annotated, Any

if TYPE_CHECKING:
    import typer

COMMANDS = {
    "train": "Train a generative neural coding network (GNCN), or a baseline, and write a run "
    "folder.",
    "reconstruct": "Draw images above their reconstructions by a trained network or autoencoder.",
    "settle": "Watch a trained network settle on one image: ψ, its terms and the states after each "
    "step.",
    "evaluate": "Measure a trained model: likelihood, samples, completion, probe, sparsity, codes.",
    "export": "Write the codes of images to a file: states of the top layer, with labels and "
    "numbers.",
    "compare": "Compare runs in one table, with the best two in bold and the paper's numbers.",
    "reproduce": "Run a study, models × data sets × trials, and record every run.",
    "report": "Make a report of a study: an HTML page that needs no network, and Markdown.",
    "tune": "Search for settings by validation images, with one budget for every model.",
    "config": "List every option with its meaning and default, section by section.",
    "data": "List, fetch and verify the data sets.",
}
"""All commands, in the order of ``gncn --help``, each with the first line of its own help."""


def new_app() -> "typer.Typer":
    """The application without its commands."""
    import typer

    app = typer.Typer(
        help="Neural generative coding: train networks that learn p(x) without backprop, and look "
        "inside.\n\nStart with `gncn train --preset mnist --out runs/mnist`. It makes a run "
        "folder, which the other commands take.",
        no_args_is_help=True,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )

    def tell_version(asked: bool) -> None:
        if asked:
            print(f"gncn {metadata.version('gncn')}", flush=True)
            raise typer.Exit

    @app.callback()
    def options(
        version: Annotated[
            bool,
            typer.Option(
                "--version", help="Show the version.", is_eager=True, callback=tell_version
            ),
        ] = False,
    ) -> None:
        pass

    return app


def _answered(arguments: list[str]) -> int | None:
    """Answer what needs nothing of the package; the exit status, or None if it needs more."""
    if "_GNCN_COMPLETE" in os.environ:
        from _gncn_names import completed, wants_names

        if wants_names():
            with suppress(SystemExit):
                completed(new_app(), COMMANDS)
            return 0
        return None
    if arguments not in ([], ["-h"], ["--help"], ["--version"]):
        return None
    app, text, status = new_app(), io.StringIO(), 0
    for name, short in COMMANDS.items():
        app.command(name, help=short)(lambda: None)
    with suppress(Exception):  # whatever is wrong with a stream is for the package to say
        isatty = sys.stdout.isatty
        text.isatty = isatty  # type: ignore[method-assign]
        with redirect_stdout(text):
            try:
                app(prog_name="gncn", standalone_mode=False)
            except Exception as error:
                if not hasattr(error, "format_message"):
                    raise
                status = 2
        sys.stdout.write(text.getvalue())
        sys.stdout.flush()
        return status
    return None


def main() -> None:
    """Run the command line, and end the process."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)
    try:
        status: Any = _answered(sys.argv[1:])
        if status is None:
            status = _done()
    except (KeyError, ValueError, IndexError) as error:
        if "_GNCN_COMPLETE" not in os.environ:
            raise
        # A shell sets it together with the line to complete; somebody else may set it alone.
        sys.stderr.write(
            f"Error: _GNCN_COMPLETE={os.environ['_GNCN_COMPLETE']!r} asks for the completion of a "
            "command line, and the environment doesn't hold one as a shell would "
            f"({type(error).__name__}: {error}). Unset it, or set up completion with gncn "
            "--install-completion.\n"
        )
        status = 2
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None where a shell has closed it
        with suppress(OSError):  # nobody may be reading
            stream.flush()
    os._exit(status or 0)


def _done() -> Any:
    """Run a command; its exit status."""
    try:
        from gncn.cli import main

        main()
    except SystemExit as ended:
        return ended.code
    except Exception as error:
        if (name := _variable_in(str(error))) is None:
            raise
        why = str(error).partition("\n")[0]
        sys.stderr.write(f"Error: {name}={os.environ[name]!r} in the environment: {why}\n")
        return 2
    return 0


def _variable_in(message: str) -> str | None:
    """The environment variable of JAX or Matplotlib whose value an error speaks of."""
    for name, value in os.environ.items():
        if name.startswith(("JAX_", "MPL")) and value and value in message:
            return name
    return None


def _leave(number: int, _: Any) -> None:
    try:
        os.write(2, b"Interrupted.\n")
    finally:  # the terminal may be gone
        os._exit(128 + number)
