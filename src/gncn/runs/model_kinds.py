"""What model files need to know of each kind of model: `FileKind`.

A model file holds a description in JSON and arrays.  The description says everything but the
arrays' values, so it also says which arrays there are: a kind makes a skeleton of it, with
`equinox.filter_eval_shape` of the function that builds the model.  Nothing is allocated for that.
"""

import abc
from typing import Any, Generic, TypeVar

import equinox as eqx
import numpy as np

from gncn.base.errors import ConfigError, RunError
from gncn.baselines.baseline import Baseline
from gncn.baselines.blueprint import Blueprint, Kind
from gncn.baselines.kinds import CLASSES, start_baseline
from gncn.baselines.pixel_mixture import PixelMixture, PixelMixtureShape
from gncn.core.circuit import Circuit
from gncn.core.network import Network, Settling, build
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
        """The circuit and the way of settling."""
        for index, layer in enumerate(model.circuit.layers):
            for field in ("activation", "prediction_activation"):
                function = getattr(layer, field)
                if not isinstance(function, str):
                    raise ConfigError(
                        f"Layer {index}: {field}={function!r} has no name to be saved under. Call "
                        "`gncn.register_activation(name, function)` and use the name."
                    )
        return {"circuit": model.circuit.model_dump(), "settling": model.settling.model_dump()}

    def skeleton(self, description: dict[str, Any]) -> Network:
        """The shape of a network that `build` makes."""
        circuit, settling = Circuit(**description["circuit"]), Settling(**description["settling"])
        masks = {
            index: np.zeros((layer.size, layer.size))
            for index, layer in enumerate(circuit.layers)
            if layer.competition == "matrix"
        }
        network = build(circuit, seed=0, **settling.model_dump(), lateral_masks=masks)
        return eqx.filter_eval_shape(lambda: network)

    def check(self, model: Network) -> None:
        """Step sizes must be positive."""
        step_sizes = model.dynamics.step_size
        if not (np.asarray(step_sizes) > 0).all():
            raise RunError(f"A network's step sizes must be above 0; received {step_sizes}.")


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
