"""The options of estimators, which the sections of a configuration declare.

scikit-learn reads an estimator's options from the signature of its ``__init__``, and wants each
kept as an attribute of that name.  So `signed` makes that method of the classes of the sections.
"""

import inspect
from collections.abc import Callable
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from gncn.base.errors import MOST_COUNT, ConfigError, check_whole, did_you_mean, quoted
from gncn.core.chain import KINDS, OUTPUT
from gncn.core.flat import takers
from gncn.runs.config import Config, read_settings
from gncn.runs.toml import overlay, packaged
from gncn.training.hebbian import IDLE
from gncn.training.kinds import MODEL_KINDS

_PARTS = {"network": KINDS, "settling": ("settler",)}
"""Kinds of parts whose options stand in a section, next to the section's own."""


def sections_of(kind: str) -> dict[str, str]:
    """The section of a configuration of each option that a kind of model takes.

    An option of a part whose name a section has, too, must be given with its part:
    ``settler=gncn.Momentum(momentum=0.5)``.
    """
    model, found = MODEL_KINDS[kind], dict[str, str]()
    split = ("training", ("train_on",))  # an estimator is given the images to learn from
    default, idle = Config(model=kind), {("training", IDLE), split}
    # Networks take all options but those of backprop, since parts decide what is idle.
    if kind != "gncn":
        idle = {split, *((section, names) for section, names, _ in model.idle(default))}
    for section in model.sections:
        left_out = {name for where, names in idle if where == section for name in names}
        found |= dict.fromkeys(set_of(getattr(default, section), left_out), section)
    for section in model.sections:
        for part in _PARTS.get(section, ()):
            for option in takers(part):
                # The section's own option goes before a part's of the same name.
                found.setdefault(option, section)
                if part == "likelihood":
                    found.setdefault(OUTPUT + option, section)
    return found


def set_of(section: Any, left_out: set[str]) -> list[str]:
    """The options of a section, in their order, without the ones left out."""
    return [name for name in type(section).model_fields if name not in left_out]


def signed(defaults: dict[str, Any]) -> Callable[..., None]:
    """An ``__init__`` that takes options by name, and keeps each as an attribute."""
    parameters = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value)
        for name, value in defaults.items()
    ]
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    signature = inspect.Signature([own, *parameters])

    def __init__(self: Any, *unnamed: Any, **options: Any) -> None:  # noqa: N807
        for name in options:
            if name not in defaults:
                close = did_you_mean(name, defaults)
                raise TypeError(f"{type(self).__name__} has no option {name!r}.{close}")
        signature.bind(self, *unnamed, **options)  # refuses what has no name, as Python does
        for name, value in defaults.items():
            setattr(self, name, options.get(name, value))

    __init__.__signature__ = signature  # type: ignore[attr-defined]
    return __init__


def seed_of(state: Any) -> int:
    """The seed that a random state gives; generators of random numbers draw one.

    Args:
        state: a whole number, None, a `numpy.random.Generator`, or a `numpy.random.RandomState`.

    Raises:
        ConfigError: it is none of these.
    """
    if isinstance(state, np.random.Generator):
        return int(state.integers(MOST_COUNT))
    if state is None or state is np.random or isinstance(state, np.random.RandomState):
        return int(check_random_state(state).randint(MOST_COUNT))
    if isinstance(state, Integral):
        return check_whole("random_state", state, least=0, most=MOST_COUNT)
    raise ConfigError(
        "random_state must be a whole number, None, a numpy.random.Generator or a "
        f"numpy.random.RandomState; received {quoted(state)}."
    )


def config_of(kind: str, preset: str | None, seed: int, given: dict[str, Any]) -> Config:
    """The configuration that an estimator's options make.

    Args:
        kind: of the model.
        preset: the name of one; None for settings that suit a few thousand small images.
        seed: of the weights and the order of images.
        given: options that take the place of these settings.

    Raises:
        ConfigError: the preset is another model's, or an option is unknown, out of range or
            without effect.
    """
    if preset is None:
        values = packaged("estimators", "defaults")[kind]
    else:
        values = read_settings(preset=preset)
        # An estimator is given its data.
        values.pop("data", None)
        if (found := values.pop("model", "gncn")) != kind:
            raise ConfigError(
                f"The preset {preset!r} is of the model {found!r}, and this is a {kind!r}."
            )
    sections = sections_of(kind)
    for section, parts in _PARTS.items():  # a part that another replaces takes its options along
        for part in parts:
            new, found = given.get(part), values.get(section, {})
            if new is not None and new != found.get(part):
                for option, who in takers(part).items():
                    if new not in who:
                        found.pop(option, None)
    for name, value in given.items():
        # TOML's lists and Python's tuples are one thing here.
        value = tuple(value) if isinstance(value, list) else value
        values = overlay(values, {sections[name]: {name: value}})
    return Config(**values, model=kind, seed=seed)
