"""Signals that ask a process to end: heard at the right moment, never lost, nothing half done.

A program that uses the library keeps its own handlers, and Ctrl-C is Python's
`KeyboardInterrupt`.  It can be lost, because Python swallows what is raised in a destructor or in
a callback.  So the command line works within `signals_heard`, where SIGINT, SIGTERM and SIGHUP
are only noted, and the process ends in one of two ways:

* In an orderly way: `check`, called wherever that does no harm, raises `KeyboardInterrupt`.
* If no such place is reached soon, say while XLA compiles, a thread ends it.  It waits for a block
  that must be done whole (`interrupts_held`) and lets the `last_words` be said.

Either way `os._exit` has the last word: threads of XLA that are still computing would crash an
interpreter that tidies up.
"""

import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from gncn.base.shown import ERRORS, shown

SIGNALS = [getattr(signal, n) for n in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, n)]
TO_HEAR, TO_END, TO_WRITE, IMPATIENT = 2.0, 7.0, 30.0, 2.0
"""Seconds after a signal until `check` should have heard it; until the orderly end; and then until
a block that must be done whole is given up, which a second signal shortens to the last number."""
_ECHO = 0.3
"""Seconds within which a second signal is the first: launchers pass on what they also receive."""
_PAUSE = 0.002
"""Seconds between looks at an array that is waited for."""

Words = Callable[[], str]
_words: list[Words] = []


class _Guard:
    """Notes signals, and ends the process if the main thread doesn't.

    Attributes:
        number: the first signal received; 0 before.
        heard: whether `check` has raised for it.
        whole: is held while something is done that must be done whole.
        said: last words, as sentences.
    """

    def __init__(self) -> None:
        self.number, self.heard, self.said = 0, False, list[str]()
        self.whole = threading.RLock()
        self._over = False
        self._inlet, self._outlet = socket.socketpair()  # Windows can't wait for pipes
        self._outlet.setblocking(False)
        # The C part of Python writes to it at once, whatever the main thread is doing.
        self._before = signal.set_wakeup_fd(self._outlet.fileno(), warn_on_full_buffer=False)
        self._handlers = {one: signal.getsignal(one) for one in SIGNALS}
        # An ignored signal stays ignored, and one whose handler isn't Python's is left alone.
        for one, handler in self._handlers.items():
            if handler not in (signal.SIG_IGN, None):  # `nohup` has SIGHUP ignored
                signal.signal(one, self._note)
        self._watcher = threading.Thread(target=self._watch, daemon=True, name="gncn-signals")
        self._watcher.start()

    def remove(self) -> None:
        """Put back the handlers that were there before."""
        with self.whole:
            self._over = True
        for one, handler in self._handlers.items():
            if handler is not None:
                signal.signal(one, handler)
        signal.set_wakeup_fd(self._before)
        self._outlet.close()
        self._watcher.join()
        self._inlet.close()

    def _note(self, number: int, _: Any) -> None:
        # The first signal decides the exit status.
        self.number = self.number or number

    def _received(self, timeout: float | None) -> bool:
        """Whether a signal comes within so many seconds, or the other end is closed."""
        ready, _, _ = select.select([self._inlet], [], [], timeout)
        numbers = self._inlet.recv(1) if ready else b""
        if numbers and numbers[0] in SIGNALS:
            self._note(numbers[0], None)
        elif numbers:  # a handler that somebody else has installed
            return self._received(timeout)
        return bool(ready)

    def _watch(self) -> None:
        self._received(None)
        began, again = time.monotonic(), False

        def passed() -> float:
            return time.monotonic() - began

        while _words and not (again or self._over):  # no words: nothing has begun
            if passed() > (TO_END if self.heard else TO_HEAR):
                break
            again = self._received(0.02) and passed() > _ECHO
        deadline = passed() + (IMPATIENT if again else TO_WRITE)
        # A file that is being replaced is finished first, unless that takes too long.
        while not (whole := self.whole.acquire(timeout=0.02)) and passed() < deadline:
            if not again and self._received(0) and passed() > _ECHO:
                again, deadline = True, passed() + IMPATIENT
        if self._over:
            return
        # The innermost words come first, in the order in which blocks would end.
        for words in reversed(_words) if whole else ():
            self.say(words)
        self._leave()

    def say(self, words: Words) -> None:
        """Let last words be said."""
        try:
            sentence = words()
        except Exception as error:  # such as a full disk: the process ends all the same
            sentence = f"{type(error).__name__}: {error}."
        if sentence and sentence not in self.said:
            self.said.append(sentence)

    def end(self) -> NoReturn:
        """End the process, unless that is happening already."""
        self.whole.acquire()
        self._leave()

    def _leave(self) -> NoReturn:
        number = self.number or signal.SIGINT
        name = signal.Signals(number).name
        by = "" if number == signal.SIGINT else f" by {name}"
        text = f"Interrupted{by}{'; ' if self.said else '.'}{' '.join(map(shown, self.said))}\n"

        def tell() -> None:
            for stream in (sys.stdout, sys.stderr):
                with suppress(Exception):
                    stream.flush()
            with suppress(Exception):  # the terminal may be gone
                cursor = "\x1b[?25h\n" if os.isatty(2) else ""  # a bar may have hidden the cursor
                encoding = sys.stderr.encoding or "utf-8"
                os.write(2, (cursor + text).encode(encoding, ERRORS))

        teller = threading.Thread(target=tell, daemon=True)
        teller.start()
        teller.join(1.0)  # nobody may be reading
        os._exit(128 + number)


_guard: _Guard | None = None


@contextmanager
def signals_heard() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end the process during the block, as the module says.

    The exit status is 130, 143 or 129.  A signal that is ignored stays ignored.
    """
    global _guard
    # Python lets the main thread alone install handlers; nested calls share one guard.
    if threading.current_thread() is not threading.main_thread() or _guard is not None:
        yield
        return
    guard = _guard = _Guard()
    try:
        yield
        if guard.number:
            guard.end()
    except KeyboardInterrupt:
        guard.end()
    except SystemExit as ended:
        if guard.number or ended.code == 128 + signal.SIGINT:  # so Typer ends after Ctrl-C
            guard.end()
        raise
    finally:
        _guard = None
        guard.remove()


@contextmanager
def last_words(words: Words) -> Iterator[None]:
    """Have `words` called if the process is asked to end during the block.

    They finish what is to be finished and return a sentence that says what is kept, or nothing.
    Another thread may call them, but never during a block that is done whole.
    """
    _words.append(words)
    try:
        yield
        # The block is done, but a signal came too late for `check`: the words are due all the same.
        if _guard is not None and _guard.number:
            raise KeyboardInterrupt
    except KeyboardInterrupt:
        if _guard is not None:
            with _guard.whole:
                _guard.say(words)
        raise
    finally:
        _words.remove(words)


def check() -> None:
    """Raise `KeyboardInterrupt`, once, if the process has been asked to end.

    Outside the command line there is nothing to check.
    """
    # `KeyboardInterrupt` belongs in the main thread, and comes once.
    guard, here = _guard, threading.current_thread()
    if guard and guard.number and not guard.heard and here is threading.main_thread():
        guard.heard = True
        raise KeyboardInterrupt


def pause(seconds: float) -> None:
    """Sleep, and `check`."""
    time.sleep(seconds)
    check()


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Do the block whole: Ctrl-C during it is heard when it ends.

    Python delivers signals to the main thread alone, so in other threads there is
    nothing to hold; and a handler that isn't Python's is left alone.
    """
    if _guard is not None:
        with _guard.whole:
            yield
        return
    before = signal.getsignal(signal.SIGINT)
    if before is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    received = []
    signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        # Put back first, so that the signal is handled as if it had come now.
        signal.signal(signal.SIGINT, before)
    if received:
        signal.raise_signal(signal.SIGINT)


def wait(array: Any) -> None:
    """Wait for a JAX array such that Ctrl-C is heard at once, not when it has been computed."""
    while not array.is_ready():
        pause(_PAUSE)
    check()
