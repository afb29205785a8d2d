"""Estimators tell callbacks of their training, and take a callback's stop."""

import numpy as np
import pytest
from sklearn.base import clone

import gncn

IMAGES = (np.random.default_rng(0).random((40, 9)) < 0.4).astype(np.float32)


class Stops:
    def __init__(self, after):
        self.after, self.epochs = after, []

    def on_epoch(self, records, networks):
        self.epochs.append(records[0].epoch)
        return len(self.epochs) >= self.after


def small(**options):
    return gncn.GNCN(sizes=(4,), group_size=2, n_epochs=5, batch_size=10, **options)


def test_a_callback_stops_fit():
    stops = Stops(2)
    fitted = small(callbacks=[stops]).fit(IMAGES)
    assert stops.epochs == [1, 2]
    assert [record.epoch for record in fitted.history_] == [1, 2]
    assert clone(fitted).callbacks[0] is not stops


def test_partial_fit_tells_of_each_call():
    stops = Stops(1)
    fitted = small(callbacks=stops)
    fitted.partial_fit(IMAGES).partial_fit(IMAGES)
    assert stops.epochs == [1, 1]


def test_what_is_no_callback_is_refused():
    with pytest.raises(gncn.ConfigError, match="A callback has one or several"):
        small(callbacks=[print]).fit(IMAGES)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "epochs"),
    [(lambda **o: gncn.RAE(budget=900, n_epochs=3, **o), 3), (gncn.PixelMixture, 1)],
)
def test_baselines_tell_them_too(make, epochs):
    stops = Stops(9)
    options = {"n_components": 2} if epochs == 1 else {}
    make(callbacks=stops, **options).fit(IMAGES)
    assert stops.epochs == [*range(1, epochs + 1)]
