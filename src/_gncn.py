"""The command ``gncn``: from its first line to its last, no signal finds it unprepared.

It stands outside the package, because importing anything of `gncn` imports JAX.  Interrupted
while they are imported, JAX and NumPy end in a traceback; but then nothing has begun yet, so the
process just ends.  `gncn.base.interrupts` is what hears signals from then on.  Nor does Python
hear any while it tidies up: so it isn't left to do so.
"""

import atexit
import os
import signal
import sys
from contextlib import suppress
from typing import Any


def main() -> None:
    """Run the command line, and end the process."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)
    status: Any = 0
    try:
        from gncn.cli import main

        main()
    except SystemExit as ended:
        status = ended.code or 0
    except Exception as error:
        if (name := _variable_in(str(error))) is None:
            raise
        why = str(error).partition("\n")[0]
        sys.stderr.write(f"Error: {name}={os.environ[name]!r} in the environment: {why}\n")
        status = 2
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # nobody may be reading
            stream.flush()
    os._exit(status)


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
