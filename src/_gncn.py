"""The command ``gncn``: hears signals before anything heavy is imported.

It stands outside the package, because importing anything of `gncn` imports JAX.  Interrupted
while they are imported, JAX and NumPy end in a traceback; but then nothing has begun yet, so the
process just ends.  `gncn.base.interrupts` is what hears signals from then on.
"""

import os
import signal
from typing import Any


def main() -> None:
    """Run the command line."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _leave)
    from gncn.cli import main

    main()


def _leave(number: int, _: Any) -> None:
    try:
        os.write(2, b"Interrupted.\n")
    finally:  # the terminal may be gone
        os._exit(128 + number)
