"""What model files need to know of each kind of model: `FileKind`.

A model file holds a description in JSON and arrays.  The description says everything but the
arrays' values, so it also says which arrays there are: a kind makes a skeleton of it, with
`equinox.filter_eval_shape` of the function that builds the model.  Nothing is allocated for that.
"""

import abc
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax

from gncn.base.errors import RunError
from gncn.baselines.baseline import Baseline
from gncn.baselines.blueprint import Blueprint, Kind
from gncn.baselines.kinds import CLASSES, start_baseline
from gncn.baselines.pixel_mixture import PixelMixture, PixelMixtureShape
from gncn.core.build import Settling, assemble
from gncn.core.circuit import PARTS, Circuit
from gncn.core.network import Network
from gncn.core.settler import SETTLERS
from gncn.runs.priors import packed, packed_skeleton, unpacked

M = TypeVar("M")


class FileKind(abc.ABC, Generic[M]):
    """One kind of model in files.

    Attributes:
        name: stands in ``model.json`` as "model".
        model: the class of these models.
    """

    name: str
    model: type[M]

    @abc.abstractmethod
    def describe(self, model: M) -> dict[str, Any]:
        """Everything about a model but its arrays, in JSON's types.

        Raises:
            ConfigError: it has a part without a registered name.
        """

    @abc.abstractmethod
    def skeleton(self, description: dict[str, Any]) -> Any:
        """The packed model of this description, with `jax.ShapeDtypeStruct` for arrays.

        Raises:
            ConfigError: the description isn't one of such a model.
        """

    def parts(self, description: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Kind and name of every registered part that a description names."""
        yield from ()

    def pack(self, model: M) -> Any:
        """The pytree whose arrays are saved; the model itself, unless that wastes space."""
        return model

    def unpack(self, tree: Any) -> M:
        """The model that `pack` was given."""
        return tree

    def check(self, model: M) -> None:
        """Refuse finite values that such a model can't have.

        Raises:
            RunError: it has some.
        """


class NetworkFile(FileKind[Network]):
    """Networks that settle."""

    name, model = "gncn", Network

    def describe(self, model: Network) -> dict[str, Any]:
        """The circuit and the settler."""
        return {"circuit": model.circuit.describe(), "settler": SETTLERS.describe(model.settler)}

    def parts(self, description: dict[str, Any]) -> Iterator[tuple[str, str]]:
        """Activations, competitions and likelihoods of layers, connections, and the settler."""
        circuit = description.get("circuit")
        circuit = circuit if isinstance(circuit, dict) else {}
        for layer in _tables(circuit.get("layers")):
            for field, kind in PARTS.items():
                yield from _named(kind, layer.get(field))
        for connection in _tables(circuit.get("connections")):
            yield from _named("connection", connection)
        yield from _named("settler", description.get("settler"))

    def skeleton(self, description: dict[str, Any]) -> Network:
        """The shape of a network that `gncn.build` makes."""
        circuit = Circuit(**description["circuit"])
        settling = Settling(settler=SETTLERS.make(description["settler"]))
        return eqx.filter_eval_shape(lambda: assemble(circuit, settling, jax.random.key(0)))

    def check(self, model: Network) -> None:
        """Step sizes must be positive."""
        for index, layer in enumerate(model.layers):
            if not layer.step_size > 0:
                raise RunError(
                    f"A network's step sizes must be above 0; layer {index} has {layer.step_size}."
                )


def _tables(value: Any) -> list[dict[str, Any]]:
    """The JSON objects in what should be a list of them."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _named(kind: str, value: Any) -> Iterator[tuple[str, str]]:
    """The name of a part that is given by its name or as a table."""
    name = value.get("kind") if isinstance(value, dict) else value
    if isinstance(name, str):
        yield kind, name


class BaselineFile(FileKind[Baseline]):
    """Baselines trained by backprop."""

    def __init__(self, name: Kind) -> None:
        self.name, self.model = name, CLASSES[name]

    def describe(self, model: Baseline) -> dict[str, Any]:
        """The blueprint; its kind is the model's name."""
        return model.blueprint.model_dump(exclude={"kind"})

    def skeleton(self, description: dict[str, Any]) -> Baseline:
        """The shape of what `start_baseline` makes."""
        blueprint = Blueprint(**{**description, "kind": self.name})
        return eqx.filter_eval_shape(lambda: start_baseline(blueprint, seed=0))


class PixelMixtureFile(FileKind[PixelMixture]):
    """Gaussian mixtures on pixels; packed, as `gncn.runs.priors` does it."""

    name, model = "gmm", PixelMixture

    def describe(self, model: PixelMixture) -> dict[str, Any]:
        """The mixture's size and the convention for p(x)."""
        return model.shape.model_dump()

    def skeleton(self, description: dict[str, Any]) -> PixelMixture:
        """The shape of a packed mixture."""
        shape = PixelMixtureShape(**description)
        mixture = packed_skeleton(shape.n_components, shape.n_pixels, shape.covariance)
        return eqx.filter_eval_shape(
            lambda mixture: PixelMixture(mixture, shape.floor, shape.emission), mixture
        )

    def pack(self, model: PixelMixture) -> PixelMixture:
        """Only the triangles of the whitening matrices."""
        return eqx.tree_at(lambda one: one.mixture, model, packed(model.mixture))

    def unpack(self, tree: PixelMixture) -> PixelMixture:
        """The whole whitening matrices."""
        return eqx.tree_at(lambda one: one.mixture, tree, unpacked(tree.mixture))


FILE_KINDS: dict[str, FileKind[Any]] = {
    kind.name: kind for kind in (NetworkFile(), *map(BaselineFile, CLASSES), PixelMixtureFile())
}
"""All kinds by name."""


def file_kind_of(model: Any) -> FileKind[Any]:
    """The kind of a model.

    Raises:
        RunError: there is none.
    """
    for kind in FILE_KINDS.values():
        if type(model) is kind.model:
            return kind
    known = ", ".join(kind.model.__name__ for kind in FILE_KINDS.values())
    raise RunError(
        f"A {type(model).__name__} can't be saved; models that can be are of the classes {known}."
    )
