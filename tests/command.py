"""The command line in this process, which spares a command the time to import JAX."""

import contextlib
import os
import sys
from unittest import mock

from gncn.cli import main


def call(arguments, out, err, **environment):
    """The exit status of ``gncn``; it writes to the streams `out` and `err`."""
    with (
        mock.patch.object(sys, "argv", ["gncn", *map(str, arguments)]),
        mock.patch.dict(os.environ, environment),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            return int(ended.code or 0)
    return 0
