"""The `gncn` application: its commands, in the order of ``--help``."""

from _gncn import new_app
from gncn.cli.config import config
from gncn.cli.data import app as data_app
from gncn.cli.evaluate import evaluate
from gncn.cli.export import export
from gncn.cli.reproduce import reproduce
from gncn.cli.study import compare, report, tune
from gncn.cli.train import train
from gncn.cli.view import reconstruct, settle

app = new_app()
for _command in (
    train,
    reconstruct,
    settle,
    evaluate,
    export,
    compare,
    reproduce,
    report,
    tune,
    config,
):
    app.command()(_command)
app.add_typer(data_app, name="data")
