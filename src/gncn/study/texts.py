"""What a study says in words, and the claims that its numbers judge.

Texts may have places for numbers, such as ``{mnist.gncn.bce}``: of a data set, a model or
yardstick, and a column of the report.  The report fills them in, so no number of a text can grow
old.  Of features of several widths a place means as many as the codes of the model that targets are
for have.  What a text says of their order can: say that by a claim.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from gncn.base.description import Description
from gncn.base.errors import ConfigError, quoted, unknown_choice
from gncn.study.paper import YARDSTICKS, columns

Place = tuple[str, str, str]
FIRST_EPOCH = "first_epoch"
"""BCE of held-out images after the first epoch, next to the columns of the report."""
_OF_YARDSTICKS = ("m_mse", "error_percent")
_PLACE = re.compile(r"\{([\w-]+)\.([\w-]+)\.(\w+)\}")


class Claim(Description):
    """That a model is better than others.

    Attributes:
        claim: in words.
        model: that it is about; empty for the model of the study's targets.
        column: by which number: a column of the report, or ``first_epoch``.
        against: the others; empty for all models that have the number.
        margin: by how much the model may be worse than the best of them, in the column's unit.
        reason: why it holds or does not.
    """

    claim: str
    model: str = ""
    column: str
    against: tuple[str, ...] = ()
    margin: float = Field(default=0.0, ge=0)
    reason: str = ""


class Texts(Description):
    """What a study says in words, in the report's order; a paragraph each.

    Attributes:
        title: of the report.
        about: stands below it.
        holds: what the study shows.
        fails: what it does not show.
        depends: what depends on how one measures.
        claims: the report judges them on each data set.
        notes: how far to trust the numbers.
    """

    spoken: ClassVar[str] = "a study"
    title: str = ""
    about: str = ""
    holds: tuple[str, ...] = ()
    fails: tuple[str, ...] = ()
    depends: tuple[str, ...] = ()
    claims: tuple[Claim, ...] = Field(default=(), max_length=100)
    notes: tuple[str, ...] = ()

    @property
    def texts(self) -> tuple[str, ...]:
        """All texts that may have places for numbers."""
        reasons = (claim.reason for claim in self.claims)
        return (self.about, *self.holds, *self.fails, *self.depends, *self.notes, *reasons)

    def check_names(self, model: str, data: Sequence[str], models: Sequence[str]) -> None:
        """Refuse claims and places for numbers that name what the study doesn't have.

        Args:
            model: the one that claims are about which name none.
            data: the study's data sets.
            models: its models.

        Raises:
            ConfigError: naming what it has.
        """
        if not all(claim.model for claim in self.claims):
            _known("targets_for of a study with claims", model, models)
        for claim in self.claims:
            if claim.model:
                _known("model of a claim", claim.model, models)
            rivals = [one for one in models if one != (claim.model or model)]
            for name in claim.against:
                _known("rival of a claim", name, rivals)
            _known("column of a claim", claim.column, (FIRST_EPOCH, *columns()))
        for text in self.texts:
            if wrong := re.search(r"\{[^{}]*\}?|\}", _PLACE.sub("", text)):
                raise ConfigError(
                    "Braces in a text hold a place for a number, {DATA.MODEL.COLUMN}; received "
                    f"{quoted(wrong[0])}."
                )
            for set_, one, column in places(text):
                _known("data set in a text", set_, data)
                _known("model or yardstick in a text", one, (*models, *YARDSTICKS))
                known = (*columns(),) if one in models else _OF_YARDSTICKS
                _known("column in a text", column, known)


def _known(what: str, name: str, names: Sequence[str]) -> None:
    if name not in names:
        raise unknown_choice(what, name, names)


def places(text: str) -> Iterator[Place]:
    """The places for numbers in a text: data set, model or yardstick, and column."""
    return map(_place, _PLACE.finditer(text))


def filled(text: str, numbers: Mapping[Place, str]) -> str:
    """The text with its numbers; a dash stands for what isn't measured yet."""
    return _PLACE.sub(lambda match: numbers.get(_place(match), "–"), text)


def _place(match: re.Match[str]) -> Place:
    data, model, column = match.groups()
    return data, model, column
