"""Ctrl-C at the right moment: held back while something must be done whole."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Do the block whole: Ctrl-C during it is heard when it ends.

    Python delivers signals to the main thread alone, so in other threads there is
    nothing to hold; and a handler that isn't Python's is left alone.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    if not in_main_thread or signal.getsignal(signal.SIGINT) is None:
        yield
        return
    received: list[int] = []

    def remember(number: int, _frame: Any) -> None:
        received.append(number)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if received:
        signal.raise_signal(signal.SIGINT)
