"""`Subject`: what is measured, a model with its data and the codes of all images.

Measures know a model by `Measurable` alone; `gncn.measures.models` shows the models of this
library in its terms.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PRNGKeyArray, Shaped

from gncn.base.errors import ConfigError, DataError, check_seed
from gncn.base.progress import Report, tell
from gncn.base.tensors import named_arrays
from gncn.data import Dataset, Split
from gncn.evaluation.completion import Completer, Ways
from gncn.evaluation.images import image_shape
from gncn.evaluation.likelihood import prior_log_likelihood
from gncn.evaluation.mixture import Mixture, Moments
from gncn.evaluation.mixture_fit import choose_mixture
from gncn.evaluation.pixels import PixelLikelihood, output_of
from gncn.evaluation.protocols import Codes, Decoder, Images, Mask, Prior, WithPrior

Keep = Callable[[str, Callable[[], dict[str, Any]]], dict[str, Any]]
"""Gives what was kept of a measurement under a name, or computes and keeps it: arrays and
values in JSON's types, however nested."""

States = Float[np.ndarray, "images _units"]
"""States of a layer; the top layer's are the codes."""

_N_TO_CHOOSE_BY = 5000
"""Prior samples by which the regularisation is chosen."""
REGULARISATION = 0.2
"""Added to every variance of the mixture that is fitted to codes, as a share of their variance."""


@runtime_checkable
class Measurable(Protocol):
    """A generative model of images, as measures see it.

    Attributes:
        decoder: maps codes to logits of pixels, or to the drive of its ``output``
            (`gncn.evaluation.protocols.Decoder`); an `equinox.Module`.
        has_codes: whether the model maps images to codes; if not, it can only be sampled.
        own_prior: the prior that the model was trained with, if there was one.
        fitted_prior: the density of codes, if training fitted it; if None, a mixture is fitted
            to codes.
    """

    decoder: Decoder
    has_codes: bool = True
    own_prior: Prior | None = None
    fitted_prior: Prior | None = None

    def encode_layers(self, images: Shaped[np.ndarray, "images pixels"]) -> list[States]:
        """States of all latent layers, bottom first; the last are the codes z."""
        ...

    def activities(self, layer: int, states: States) -> States:
        """The output of latent layer `layer` (1..L): φ of its states, or the states themselves."""
        return states

    def group_sizes(self) -> list[int | None]:
        """Neurons in a column of each latent layer; None without columns."""
        ...

    @property
    def direct_completers(self) -> Mapping[str, Completer]:
        """Ways that need no training images and take a mask for each image; by default none.

        The first is the one that is taken unless another is asked for.
        """
        return {}

    def direct_ways(self, images: Images, visible: Mask) -> Ways:
        """The `completers` that need no codes of training images, the same to the bit."""
        return self.direct_completers

    def completers(self, codes: Codes, images: Images, visible: Mask) -> Ways:
        """The ways in which the model completes images, learned from training images."""
        ...


class FittedPrior(NamedTuple):
    """A prior over codes, and for the metrics how it was fitted; nothing if training fitted it."""

    prior: Prior
    numbers: dict[str, Any]


@dataclass(frozen=True)
class Subject:
    """A model, its data, and the codes of all images.

    Attributes:
        model: to be measured.
        data: the data it was trained on.
        split: the images that numbers are reported on: ``validation`` or ``test``.
        seed: of everything random in the measurements.
        report: receives what is being done.
        keep: keeps results that take long, so that a killed evaluation can go on.
        both: whether the model learned from validation images, too (``training.train_on``).
        priors: the mixtures fitted so far, by their settings.

    Raises:
        ConfigError: the split can't be reported on, or the model learned from it.
    """

    model: Measurable
    data: Dataset
    split: str
    seed: int = 0
    report: Report = tell
    keep: Keep = lambda _, compute: compute()
    both: bool = False
    priors: dict[Any, FittedPrior] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.split not in ("validation", "test"):
            raise ConfigError(f"Measure on 'validation' or 'test' images; received {self.split!r}.")
        if self.both and self.split == "validation":
            raise ConfigError(
                "The model learned from validation images (training.train_on='both'), so they "
                "measure nothing: report on test images, split='test'."
            )
        check_seed(self.seed)

    @cached_property
    def learned(self) -> Split:
        """The images that the model learned from."""
        return self.data.learned_from("both" if self.both else "train")

    @property
    def learned_codes(self) -> States:
        """Codes of the images that the model learned from, in their order."""
        codes = self.codes("train")
        # Hundreds of megabytes: copied only if there is something to add.
        return np.concatenate([codes, self.codes("validation")]) if self.both else codes

    @property
    def target(self) -> Split:
        """The images that numbers are reported on."""
        return getattr(self.data, self.split)

    @property
    def output(self) -> PixelLikelihood:
        """The likelihood of the model's pixels."""
        return output_of(self.model.decoder)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of an image."""
        return image_shape(self.data.n_pixels, self.data.image_shape)

    def key(self, number: int) -> PRNGKeyArray:
        """A random key for measurement `number`."""
        # A number for each measurement, so one more measure changes no other's draws.
        return jax.random.fold_in(jax.random.key(self.seed), number)

    def counting(self, what: str, unit: str) -> Callable[[int, int], None]:
        """A function that reports how many of all are done."""
        return lambda done, n: self.report(f"{what}: {done} of {n} {unit}")

    # Encoding settles on all images, and most measures need it: once is enough.
    @cached_property
    def states(self) -> dict[str, list[States]]:
        """States of all latent layers, bottom first, for each split."""
        self.report("encoding all images")
        splits = {"train": self.data.train, "validation": self.data.validation}
        splits[self.split] = self.target
        return {name: self.model.encode_layers(split.array) for name, split in splits.items()}

    def codes(self, split: str) -> States:
        """Codes of a split: the states of its top layer."""
        return self.states[split][-1]

    @property
    def n_layers(self) -> int:
        """Number of latent layers."""
        return len(self.model.group_sizes())

    def prior(
        self,
        n_components: tuple[int, ...],
        covariance: str,
        shares: tuple[float, ...] = (REGULARISATION,),
    ) -> FittedPrior:
        """The model's prior, or a mixture fitted to its codes of the images learned from.

        Measures with the same settings share one fit.  Among several numbers of components the
        density of validation codes decides, under mixtures fitted to training codes.  Among
        several `shares` of the codes' variance, added to every variance of the mixture, log p(x) of
        validation images decides; where the model has no density of these images, the first share
        is taken.
        """
        if (given := self.model.fitted_prior) is not None:
            return FittedPrior(given, {})
        # Once for each setting in this process; once in all if `keep` has it.
        if (settings := (n_components, covariance, shares)) not in self.priors:
            kept = self.keep(f"prior {settings}", lambda: self._fit(*settings))
            # Kept as arrays alone, from which the mixture is made again.
            arrays = jax.tree.map(jnp.asarray, kept["mixture"])
            mixture = Mixture(**arrays, covariance=kept["numbers"]["covariance"])
            self.priors[settings] = FittedPrior(mixture, {"prior": kept["numbers"]})
        return self.priors[settings]

    def _fit(
        self, n_components: tuple[int, ...], covariance: str, shares: tuple[float, ...]
    ) -> dict[str, Any]:
        """The arrays of a fitted mixture, and numbers about it."""

        def on_iteration(number: int, objective: float) -> None:
            self.report(f"fitting the prior: EM step {number}, {objective:.2f}")

        self.report("fitting the prior: start from k-means")
        codes = self.learned_codes
        # In units of the codes' own variance, which differs between models.
        variance = float(np.mean(np.var(codes, axis=0, dtype=np.float64)))
        # Codes that are all equal have no variance, but a mixture of them still needs one.
        base, unit = shares[0], variance or 1.0
        choose = partial(
            choose_mixture,
            validation=self.codes("validation"),
            covariance=covariance,
            seed=self.seed,
            on_iteration=on_iteration,
        )
        several = len(n_components) > 1 or len(shares) > 1
        # Codes that a mixture is fitted to can't say how it should be.
        first = self.codes("train") if self.both and several else codes
        fit, tried = choose(first, n_components=n_components, regularisation=base * unit)
        by_share = self._by_share(fit.mixture, shares, unit) if len(shares) > 1 else {}
        share = max(by_share, key=by_share.__getitem__, default=base)
        if first is not codes or share != base:
            # A mixture that was widened is no fit: with other widths EM moves its components.
            one = (fit.mixture.n_components,)
            fit, _ = choose(codes, n_components=one, regularisation=share * unit)
        target = jnp.asarray(self.codes(self.split))
        numbers = {
            "n_components": fit.mixture.n_components,
            "covariance": covariance,
            "regularisation": share * unit,
            "status": fit.status,
            "log_density_of_training_codes": fit.log_likelihood,
            f"log_density_of_{self.split}_codes": float(jnp.mean(fit.mixture.log_prob(target))),
            **({"validation_log_density": tried} if tried else {}),
            **({"validation_log_likelihood": by_share} if by_share else {}),
        }
        return {"mixture": named_arrays(fit.mixture), "numbers": numbers}

    def _by_share(
        self, mixture: Mixture, shares: tuple[float, ...], unit: float
    ) -> dict[float, float]:
        """Log p(x) of validation images in nats, by the share; `mixture` has the first one.

        For others it is widened or narrowed, which takes less time than another fit.  Empty if
        these images have no density.
        """
        found, images = {}, self.data.validation.array
        try:
            self.output.check(images)
        except DataError:  # greys, for instance
            return {}
        # One key: all shares have the same draws, but for their widths.
        moments, key = Moments.of(mixture), self.key(10)
        for share in shares:
            self.report(f"choosing the prior's regularisation: {share:g}")
            by = (share - shares[0]) * unit
            try:
                prior = moments.widened(by) if by else mixture
            except DataError:  # too narrow for what the fit rounded
                continue
            model = WithPrior(self.model.decoder, prior)
            estimate = prior_log_likelihood(model, images, key=key, n_samples=_N_TO_CHOOSE_BY)
            found[share] = float(estimate.mean[-1])
        return found
