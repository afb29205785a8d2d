"""The `gncn` application: its commands and their order in ``--help``."""

import typer

from gncn.cli.compare import compare
from gncn.cli.data import app as data_app
from gncn.cli.evaluate import evaluate
from gncn.cli.reconstruct import reconstruct
from gncn.cli.report import report
from gncn.cli.reproduce import reproduce
from gncn.cli.settle import settle
from gncn.cli.train import train
from gncn.cli.tune import tune

app = typer.Typer(
    help="Neural generative coding: train networks that learn p(x) without backprop, and look "
    "inside.\n\nStart with `gncn train --preset mnist --out runs/mnist`. It makes a run folder, "
    "which the other commands take.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(train)
app.command()(reconstruct)
app.command()(settle)
app.command()(evaluate)
app.command()(compare)
app.command()(reproduce)
app.command()(report)
app.command()(tune)
app.add_typer(data_app, name="data")
