"""The `gncn` application: its commands and their order in ``--help``."""

import typer

from gncn.cli.data import app as data_app
from gncn.cli.evaluate import evaluate
from gncn.cli.reproduce import reproduce
from gncn.cli.study import compare, report, tune
from gncn.cli.train import train
from gncn.cli.view import reconstruct, settle

app = typer.Typer(
    help="Neural generative coding: train networks that learn p(x) without backprop, and look "
    "inside.\n\nStart with `gncn train --preset mnist --out runs/mnist`. It makes a run folder, "
    "which the other commands take.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    add_completion=False,
)
for _command in (train, reconstruct, settle, evaluate, compare, reproduce, report, tune):
    app.command()(_command)
app.add_typer(data_app, name="data")
