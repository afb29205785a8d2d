"""`Callback`: what hears of a training, may end it, and may have a state that checkpoints keep.

Progress bars, loggers (`gncn.training.loggers`) and run folders are callbacks.  `Callbacks` are
the callbacks of one training, checked before it begins.
"""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gncn.base.errors import ConfigError, did_you_mean, quoted
from gncn.training.history import EpochRecord
from gncn.training.progress import Fit

_METHODS = {"on_start": 1, "on_batch": 1, "on_epoch": 2, "on_end": 1, "state": 0, "restore": 1}
"""How many arguments each method of a callback receives."""
_TOLD = tuple(name for name in _METHODS if name.startswith("on_"))


@dataclass(frozen=True)
class Start:
    """The news when training begins.

    Attributes:
        n_epochs: epochs that the training has at most, those included that are done already.
        n_batches: mini-batches of an epoch.
        epoch: epochs done before.
        resumed: whether it goes on from a checkpoint; `Callback.restore` follows then.
        settings: options, seeds and kind of model, in JSON's types.
    """

    n_epochs: int
    n_batches: int
    epoch: int = 0
    resumed: bool = False
    settings: dict[str, Any] = field(default_factory=dict)


class Callback:
    """Hears of a training.  Any object with one or several of these methods is a callback.

    Methods that a callback doesn't need can be left out.  An exception that one raises ends the
    training as it stands.

    A callback may have a state that survives a kill.  ``state()`` then returns it in JSON's types,
    once for each checkpoint.  ``restore(state)`` takes it back, after `on_start`, when a training
    goes on.  A callback has both methods or neither.

    >>> import gncn
    >>> class UntilGood(gncn.Callback):
    ...     def on_epoch(self, records, networks):
    ...         return records[0].validation.error < 30
    ...
    >>> network = gncn.build(gncn.chain((64, 12)), seed=0, n_settle_steps=5)
    >>> found = gncn.fit(network, gncn.load_dataset("digits"), callbacks=[UntilGood()])
    >>> [record.validation.error < 30 for record in found.history]
    [False, True]
    """

    def on_start(self, start: Start) -> None:
        """Training begins."""

    def on_batch(self, number: int) -> None:
        """All mini-batches up to `number` (from 0) of the present epoch are done.

        `fit` calls this some twenty times in an epoch, not for every mini-batch.
        """

    def on_epoch(self, records: Sequence[EpochRecord], networks: Sequence[Any]) -> bool | None:
        """An epoch is done; one record and one model for each trial.

        With early stopping these are the models to keep, perhaps from earlier epochs.

        Returns:
            True to end the training with this epoch, as if it had been the last.  All other
            callbacks hear of the epoch first.
        """

    def on_end(self, fit: Fit[Any]) -> None:
        """Training has finished, or was interrupted or diverged; with what is kept of it."""


class Callbacks:
    """The callbacks of a training, each of which has one of the methods.

    A user gives one, several or none; `others` are the library's.

    Raises:
        ConfigError: something has none of them, has one with other arguments, or one that is
            unknown.
    """

    def __init__(self, callbacks: Any, *others: Any) -> None:
        # `Callbacks` of an earlier check are taken apart, so that others can be added.
        if isinstance(callbacks, Callbacks):
            callbacks = callbacks.all
        several = isinstance(callbacks, Sequence)
        given = [] if callbacks is None else callbacks if several else [callbacks]
        self.all: list[Any] = [*given, *others]
        for one in self.all:
            _check(one)
        self._stateful = [one for one in self.all if _has_state(one)]

    def tell(self, name: str, *what: Any) -> bool:
        """Call a method of all callbacks that have it; whether one asks to end the training."""
        stop = False
        # No early end: all callbacks hear of an epoch, even after one has asked to end the
        # training.
        for one in self.all:
            method = getattr(one, name, None)
            answer = None if method is None else method(*what)
            if answer is None:
                continue
            # A comparison of records may give NumPy's kind of boolean.
            if name != "on_epoch" or not isinstance(answer, bool | np.bool_):
                allowed = "True to end the training, or None" if name == "on_epoch" else "None"
                raise ConfigError(
                    f"{type(one).__name__}.{name} must return {allowed}; it returned "
                    f"{quoted(answer)}."
                )
            stop |= bool(answer)
        return stop

    def states(self) -> list[Any]:
        """The state of each callback that has one; a `ConfigError` if JSON doesn't know it."""
        return [_plain(one) for one in self._stateful]

    def check_states(self, states: Sequence[Any], where: object) -> None:
        """Refuse states of other callbacks by a `ConfigError`."""
        if len(states) != len(self._stateful):
            raise ConfigError(
                f"{where} holds the states of {len(states)} callbacks, and {len(self._stateful)} "
                "have one. Train with the same callbacks."
            )

    def restore(self, states: Sequence[Any]) -> None:
        """Hand its state back to each."""
        for one, state in zip(self._stateful, states, strict=True):
            one.restore(state)


def _check(one: Any) -> None:
    known = ", ".join(_TOLD)
    if isinstance(one, type):
        raise ConfigError(
            f"A callback is an object; received the class {one.__name__}. Give {one.__name__}(...)."
        )
    if not any(hasattr(one, name) for name in _TOLD):
        raise ConfigError(
            f"A callback has one or several of the methods {known}; received {quoted(one)}."
        )
    kind = type(one).__name__
    # A misspelt method would never be called, and nobody would notice.
    for name in dir(type(one)):
        if name.startswith("on_") and name not in _TOLD:
            raise ConfigError(
                f"{kind} has the method {name!r}, by which callbacks hear nothing."
                f"{did_you_mean(name, _TOLD)} They hear by {known}."
            )
    names = (*_TOLD, "state", "restore") if _has_state(one) else _TOLD
    for name in names:
        if not hasattr(one, name):
            continue
        method, n = getattr(one, name), _METHODS[name]
        if not callable(method):
            raise ConfigError(f"{kind}.{name} must be a method; it is {quoted(method)}.")
        try:
            # Tried now: a wrong number of arguments would otherwise show up after the first epoch.
            inspect.signature(method).bind(*[None] * n)
        except TypeError:
            argument = "no argument" if n == 0 else f"{n} argument{'s' * (n > 1)}"
            raise ConfigError(
                f"{kind}.{name} must take {argument}; it is declared as "
                f"{name}{inspect.signature(method)}."
            ) from None
        except ValueError:  # written in C, without a signature
            continue


def _has_state(one: Any) -> bool:
    """Whether a callback has a state; refuses one that can't take it back, or has none to give."""
    found = [name for name in ("state", "restore") if callable(getattr(one, name, None))]
    if len(found) == 1:
        raise ConfigError(
            f"{type(one).__name__} has the method {found[0]!r} alone: a callback has both "
            "'state' and 'restore', or neither."
        )
    return bool(found)


def _plain(one: Any) -> Any:
    state = one.state()
    try:
        # There and back, so that states are what a checkpoint will give back: tuples become lists.
        return json.loads(json.dumps(state))
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"{type(one).__name__}.state must return values of JSON's types (numbers, texts, "
            f"lists, dictionaries); it returned {quoted(state)}: {error}."
        ) from None
