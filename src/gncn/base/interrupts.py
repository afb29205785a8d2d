"""Ctrl-C at the right moment: heard while waiting, held back while something is done whole."""

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_PAUSE = 0.002
"""Seconds between looks at an array that is waited for."""


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Do the block whole: Ctrl-C during it is heard when it ends.

    Python delivers signals to the main thread alone, so in other threads there is
    nothing to hold; and a handler that isn't Python's is left alone.
    """
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    received = []
    signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        signal.raise_signal(signal.SIGINT)


def wait(array: Any) -> None:
    """Wait for a JAX array such that Ctrl-C is heard at once, not when it has been computed."""
    while not array.is_ready():
        time.sleep(_PAUSE)
