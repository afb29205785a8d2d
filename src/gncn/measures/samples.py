"""`Samples`: images drawn from the model, and how near they are to training images."""

from pathlib import Path

import jax
import numpy as np

from gncn.evaluation.neighbours import nearest_images
from gncn.measures.likelihood import PriorMeasure
from gncn.measures.measure import Result
from gncn.measures.subject import Subject

N_SAMPLES = 100

_NOTE = "Euclidean, of binary draws; a model that copies is much nearer than held-out images are."


class Samples(PriorMeasure):
    """Samples, and how far they and held-out images are from training images."""

    needs_codes = False

    def measure(self, subject: Subject) -> Result:
        prior = self.prior(subject)
        subject.report("sampling, and searching the nearest training images")
        codes = prior.prior.sample(subject.key(6), N_SAMPLES)
        means = np.asarray(jax.nn.sigmoid(subject.model.decoder.decode(codes)))
        uniform = np.random.default_rng(subject.seed).uniform(size=means.shape)
        drawn = (uniform < means).astype(np.uint8)
        train = subject.data.train.array
        nearest = nearest_images(train, drawn)
        held_out = nearest_images(train, subject.target.array[:N_SAMPLES])
        numbers = {
            "n": len(means),
            "distance_to_nearest_training_image": float(nearest.distances.mean()),
            "the_same_for_held_out_images": float(held_out.distances.mean()),
            "note": _NOTE,
        }
        pictures = {
            "samples": means,
            "samples_drawn": drawn,
            "samples_nearest": np.asarray(train[nearest.indices[:, 0]]),
        }
        return Result(prior.numbers | {"samples": numbers}, pictures=pictures)

    def figure(self, result: Result, subject: Subject, folder: Path) -> Path | None:
        from gncn.figures.evaluation import draw_samples

        titles = {
            "samples": "Samples (means)",
            "samples_drawn": "Drawn from them",
            "samples_nearest": "The training image nearest to each draw",
        }
        pictures = {title: result.pictures[name] for name, title in titles.items()}
        return draw_samples(folder / "samples.png", pictures, subject.shape)
