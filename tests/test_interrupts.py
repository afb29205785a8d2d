"""How signals are heard: noted, raised where it does no harm, and never lost."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from gncn.base import interrupts

# The room `base` alone, without JAX: a process of it starts within a tenth of a second.
BEGIN = f"""
import os, signal, sys, threading, time, types
for name, place in (("gncn", None), ("gncn.base", {str(Path(interrupts.__file__).parent)!r})):
    sys.modules[name] = types.ModuleType(name)
    sys.modules[name].__path__ = [place]
from gncn.base import interrupts as i
for s in i.SIGNALS:
    signal.signal(s, signal.SIG_DFL)
i.TO_HEAR, i.TO_END, i.IMPATIENT, i._ECHO = 0.3, 0.6, 0.2, 0.1
def strike(number=signal.SIGTERM, after=0.0):
    act = lambda: (time.sleep(after), os.kill(os.getpid(), number))
    threading.Thread(target=act, daemon=True).start()
"""


def run(code, **options):
    """Status, output and seconds of a process that knows the module as `i`."""
    began = time.monotonic()
    command = [sys.executable, "-c", BEGIN + code]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=60, **options)
    return done.returncode, done.stdout + done.stderr, time.monotonic() - began


@pytest.mark.parametrize(
    ("number", "status", "said"),
    [
        (signal.SIGINT, 130, "Interrupted; kept.\n"),
        (signal.SIGTERM, 143, "Interrupted by SIGTERM; kept.\n"),
        (signal.SIGHUP, 129, "Interrupted by SIGHUP; kept.\n"),
    ],
)
@pytest.mark.parametrize("line", ["i.pause(0.01)", "time.sleep(0.01)"])
def test_a_signal_ends_the_process_with_or_without_the_main_thread(number, status, said, line):
    code = f"""
with i.signals_heard(), i.last_words(lambda: "kept."):
    strike({int(number)})
    while True:
        {line}
"""
    assert run(code)[:2] == (status, said)


def test_a_program_in_which_nothing_has_begun_ends_at_once():
    code = "i.TO_HEAR = 60\nwith i.signals_heard():\n    strike()\n    time.sleep(60)"
    status, said, seconds = run(code)
    assert (status, said) == (143, "Interrupted by SIGTERM.\n")
    assert seconds < 30


def test_what_python_swallows_is_not_lost():
    code = """
class Swallows:
    def __del__(self):
        strike()
        while True:
            i.pause(0.01)
sys.unraisablehook = lambda _: print("swallowed", flush=True)
with i.signals_heard(), i.last_words(lambda: ""):
    Swallows()
    time.sleep(60)
"""
    assert run(code)[:2] == (143, "swallowed\nInterrupted by SIGTERM.\n")


def test_a_block_that_must_be_done_whole_is_waited_for(tmp_path):
    code = f"""
def words():
    return f"{{open({str(tmp_path / "whole")!r}, 'rb').read().decode()}}."
with i.signals_heard(), i.last_words(words):
    strike()
    with i.interrupts_held():
        time.sleep(1)
        open({str(tmp_path / "whole")!r}, "wb").write(b"done")
    time.sleep(60)
"""
    assert run(code)[:2] == (143, "Interrupted by SIGTERM; done.\n")


def test_a_block_that_does_not_end_is_given_up_and_then_nothing_is_touched():
    code = """
i.TO_WRITE = 0.5
with i.signals_heard(), i.last_words(lambda: "not to be said"):
    strike()
    with i.interrupts_held():
        time.sleep(60)
"""
    assert run(code)[:2] == (143, "Interrupted by SIGTERM.\n")


def test_one_signal_that_arrives_twice_is_one():
    code = """
i.TO_HEAR, i._ECHO = 1, 0.5
with i.signals_heard(), i.last_words(lambda: "Kept."):
    strike(signal.SIGINT)
    strike(signal.SIGINT, 0.1)
    time.sleep(0.6)
    print("still there", flush=True)
    time.sleep(60)
"""
    assert run(code)[:2] == (130, "still there\nInterrupted; Kept.\n")


@pytest.mark.parametrize("place", ["time.sleep(60)", "with i.interrupts_held(): time.sleep(60)"])
def test_a_second_signal_ends_it_at_once(place):
    code = f"""
i.TO_HEAR = 60
with i.signals_heard(), i.last_words(lambda: ""):
    strike(signal.SIGINT)
    strike(signal.SIGINT, 0.3)
    {place}
"""
    status, said, seconds = run(code)
    assert (status, said) == (130, "Interrupted.\n")
    assert seconds < 25


def test_what_is_ignored_stays_ignored():
    code = """
signal.signal(signal.SIGHUP, signal.SIG_IGN)
with i.signals_heard():
    os.kill(os.getpid(), signal.SIGHUP)
    time.sleep(0.5)
"""
    assert run(code)[:2] == (0, "")


def test_other_handlers_wake_nobody():
    code = """
signal.signal(signal.SIGUSR1, lambda *_: print("heard", flush=True))
with i.signals_heard():
    os.kill(os.getpid(), signal.SIGUSR1)
    time.sleep(0.3)
"""
    assert run(code)[:2] == (0, "heard\n")


def test_last_words_may_fail_and_nobody_may_be_listening():
    code = """
def fail():
    raise OSError("the disk is full")
with i.signals_heard(), i.last_words(lambda: "Kept."), i.last_words(fail):
    {}
    strike()
    time.sleep(60)
"""
    assert run(code.format(""))[:2] == (
        143,
        "Interrupted by SIGTERM; OSError: the disk is full. Kept.\n",
    )
    assert run(code.format("os.close(2)"))[0] == 143
    full = "os.dup2(os.pipe()[1], 2)\n    threading.Thread(target=os.write, args=(2, bytes(10**6)))"
    assert run(code.format(full + ".start()"))[0] == 143


@pytest.mark.parametrize("end", ["raise KeyboardInterrupt", "pass"])
def test_it_is_raised_once_so_that_the_command_can_conclude(end):
    code = f"""
i.TO_END = 60
with i.signals_heard(), i.last_words(lambda: "Kept."):
    strike()
    try:
        while True:
            i.pause(0.01)
    except KeyboardInterrupt:
        for _ in range(9):
            i.pause(0.01)
        print("concluded", flush=True)
    {end}
"""
    assert run(code)[:2] == (143, "concluded\nInterrupted by SIGTERM; Kept.\n")


def test_a_signal_is_heard_at_the_end_at_the_latest():
    code = """
with i.signals_heard():
    with i.last_words(lambda: "All is done."):
        os.kill(os.getpid(), signal.SIGTERM)
    print("not reached")
"""
    assert run(code)[:2] == (143, "Interrupted by SIGTERM; All is done.\n")


def test_afterwards_all_is_as_it_was():
    before = [signal.getsignal(one) for one in interrupts.SIGNALS], threading.enumerate()
    files = len(list(Path("/dev/fd").iterdir())) if Path("/dev/fd").exists() else 0
    with interrupts.signals_heard(), interrupts.last_words(lambda: ""):
        assert signal.getsignal(signal.SIGTERM) != before[0][1]
        interrupts.check()
    assert before == ([signal.getsignal(one) for one in interrupts.SIGNALS], threading.enumerate())
    assert signal.set_wakeup_fd(-1) == -1
    assert files == 0 or len(list(Path("/dev/fd").iterdir())) == files


def test_errors_and_exits_pass():
    for error in (ValueError, SystemExit(2)):
        with pytest.raises((ValueError, SystemExit)) as passed, interrupts.signals_heard():
            raise error
        assert passed.value is error or passed.type is error


def test_without_the_command_line_handlers_are_left_alone():
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with interrupts.last_words(lambda: pytest.fail("nobody asked")):
        interrupts.check()
    with pytest.raises(KeyboardInterrupt), interrupts.last_words(lambda: pytest.fail("not ours")):
        raise KeyboardInterrupt
    thread = threading.Thread(target=lambda: interrupts.signals_heard().__enter__())
    thread.start()
    thread.join()
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_the_command_hears_signals_before_anything_heavy_is_imported():
    code = """
import builtins
sys.path.insert(0, {!r})
sys.argv = ["gncn", "train"]
real = builtins.__import__
def watch(name, *rest):
    if name.split(".")[0] in ("gncn", "numpy", "jax"):
        print(signal.getsignal(signal.SIGTERM).__module__, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
    return real(name, *rest)
builtins.__import__ = watch
import _gncn
_gncn.main()
"""
    source = Path(interrupts.__file__).parents[2]
    assert run(code.format(str(source)))[:2] == (143, "_gncn\nInterrupted.\n")


def test_a_handler_that_python_does_not_know_is_left_alone():
    code = """
real, known = signal.signal, signal.getsignal
signal.getsignal = lambda one: None if one == signal.SIGHUP else known(one)
set_for = []
signal.signal = lambda one, handler: (set_for.append(one), real(one, handler))[1]
with i.signals_heard():
    pass
print(signal.SIGTERM in set_for, signal.SIGHUP in set_for)
"""
    assert run(code)[:2] == (0, "True False\n")


def test_one_block_inside_another_and_those_of_other_threads_change_nothing():
    code = """
def inner():
    with i.signals_heard():
        handlers.append(signal.getsignal(signal.SIGTERM))
handlers = []
with i.signals_heard():
    before = signal.getsignal(signal.SIGTERM)
    inner()
    other = threading.Thread(target=inner)
    other.start()
    other.join()
    print(handlers == [before, before] == [signal.getsignal(signal.SIGTERM)] * 2)
print(signal.getsignal(signal.SIGTERM) == signal.SIG_DFL)
"""
    assert run(code)[:2] == (0, "True\nTrue\n")


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", 143, "Interrupted by SIGTERM.\n"),
        ("sys.exit(130)", 130, "Interrupted.\n"),
        ("os.kill(os.getpid(), signal.SIGHUP); sys.exit(0)", 129, "Interrupted by SIGHUP.\n"),
    ],
)
def test_the_end_of_the_block_hears_what_nothing_else_has(end, status, said):
    code = f"""
i._Guard._watch = lambda guard: None  # the system gave that thread no time
with i.signals_heard():
    {end}
"""
    assert run(code)[:2] == (status, said)


def test_a_second_signal_ends_the_wait_for_a_block_that_must_be_done_whole():
    code = """
i.TO_WRITE = 60
with i.signals_heard(), i.last_words(lambda: "not to be said"):
    strike()
    strike(after=1.0)
    with i.interrupts_held():
        time.sleep(60)
"""
    status, said, seconds = run(code)
    assert (status, said) == (143, "Interrupted by SIGTERM.\n")
    assert seconds < 25


def test_an_array_is_waited_for_until_it_is_ready(monkeypatch):
    class Array:
        asked = 0

        def is_ready(self):
            self.asked += 1
            return self.asked == 4

    slept, array = [], Array()
    monkeypatch.setattr(time, "sleep", slept.append)
    interrupts.wait(array)
    assert array.asked == 4
    assert slept == [interrupts._PAUSE] * 3
