"""Callbacks: what may be one, what it hears, how it ends a training, and what it remembers."""

import numpy as np
import pytest
from test_checkpoints import EPOCHS, Killed, config, data, network, same, train

import gncn
from gncn.base.errors import ConfigError
from gncn.baselines.pixel_mixture import PixelMixtureConfig, fit_pixel_mixture
from gncn.training.callbacks import Callbacks
from gncn.training.checkpoints import Checkpoints


class Notes:
    """Notes the names of what it hears."""

    def __init__(self):
        self.heard = []

    def on_start(self, start):
        self.heard.append(("start", start.n_epochs, start.n_batches, start.epoch, start.resumed))
        self.settings = start.settings

    def on_epoch(self, records, networks):
        self.heard.append(("epoch", records[0].epoch, len(networks)))

    def on_end(self, fit):
        self.heard.append(("end", fit.status, len(fit.history)))


class Enough:
    """Ends training after some epochs; its state is how many it has seen."""

    def __init__(self, after):
        self.after, self.seen = after, 0

    def on_start(self, start):
        self.seen = 0  # a state that was kept is handed back afterwards

    def on_epoch(self, records, networks):
        self.seen += 1
        return np.bool_(self.seen == self.after)

    def state(self):
        return {"seen": self.seen}

    def restore(self, state):
        self.seen = state["seen"]


def test_what_callbacks_hear_in_order():
    notes = Notes()
    train(n_epochs=2, callbacks=notes)
    assert notes.heard == [
        ("start", 2, 9, 0, False),
        ("epoch", 1, 1),
        ("epoch", 2, 1),
        ("end", "finished", 2),
    ]
    assert notes.settings["seeds"] == [3]
    assert notes.settings["training"][0]["batch_size"] == 7
    assert notes.settings["model"] == "Network"


def test_one_ends_training_in_good_order():
    """After the stop all is as after a training of so many epochs; all have heard."""
    notes = Notes()
    found = train(callbacks=[Enough(2), notes])
    assert found.status == "finished"
    assert notes.heard[-2:] == [("epoch", 2, 1), ("end", "finished", 2)]
    same(found, train(n_epochs=2))


@pytest.mark.parametrize("patience", [None, 3])
def test_a_stop_outlives_a_kill_and_states_are_kept(tmp_path, patience):
    """Killed before, at and after the stop: what goes on ends with the same bytes."""
    whole = train(callbacks=Enough(3), patience=patience)
    assert whole.history[-1].epoch == 3 < EPOCHS

    class Kills:
        def __init__(self, epoch):
            self.epoch = epoch

        def on_epoch(self, records, networks):
            if records[0].epoch == self.epoch:
                raise Killed

        def on_end(self, fit):
            raise Killed

    for epoch in (2, 3, None):
        folder = tmp_path / str(epoch)
        with pytest.raises(Killed):
            train(folder, callbacks=[Enough(3), Kills(epoch)], patience=patience)
        notes = Notes()
        again = train(folder, resume=True, callbacks=[Enough(3), notes], patience=patience)
        same(again, whole)
        done = 3 if epoch is None else epoch - 1
        assert notes.heard[0] == ("start", EPOCHS, 9, done, True)


def test_what_ends_otherwise_is_told_to_them():
    class Pressed(Notes):
        def on_epoch(self, records, networks):
            raise KeyboardInterrupt

    notes = Pressed()
    with pytest.raises(gncn.Interrupted):
        train(callbacks=notes)
    assert notes.heard[-1] == ("end", "interrupted", 1)
    notes = Notes()
    with pytest.raises(gncn.DivergenceError):
        train(callbacks=notes, learning_rate=1e15)
    assert notes.heard[-1][:2] == ("end", "diverged")


@pytest.mark.slow
def test_a_mixture_tells_them_too():
    notes = Notes()
    fit_pixel_mixture(data(), PixelMixtureConfig(n_components=2, max_iterations=1), callbacks=notes)
    assert [what for what, *_ in notes.heard] == ["start", "epoch", "end"]
    assert notes.settings["mixture"]["n_components"] == 2


class Deaf:
    pass


class Mistaken:
    def on_epoch(self, record):
        pass


class Misspelt:
    def on_epochs(self, records, networks):
        pass

    def on_start(self, start):
        pass


class Value:
    on_epoch = 3


class Half:
    def on_epoch(self, records, networks):
        pass

    def state(self):
        return {}


class Needy(Half):
    def restore(self):
        pass


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Deaf(), "one or several of the methods on_start, on_batch, on_epoch, on_end; received"),
        (print, "one or several of the methods"),
        (lambda records: True, "one or several of the methods"),
        ((print, print), "one or several of the methods"),
        ([3], "one or several of the methods.*received 3"),
        ("abc", "one or several of the methods.*received 'a'"),
        ({"on_epoch": print}, "one or several of the methods"),
        (Enough, r"is an object; received the class Enough. Give Enough\(...\)"),
        (Mistaken(), r"Mistaken.on_epoch must take 2 arguments; .*on_epoch\(record\)"),
        (Misspelt(), "the method 'on_epochs', .* Did you mean 'on_epoch'.? They hear by"),
        (Value(), "Value.on_epoch must be a method; it is 3"),
        (Half(), "the method 'state' alone"),
        (Needy(), r"Needy.restore must take 1 argument; .*restore\(\)"),
    ],
)
def test_what_is_no_callback_is_refused_before_anything_happens(wrong, message):
    with pytest.raises(ConfigError, match=message) as refused:
        gncn.fit(network(), data(), config(), callbacks=wrong)
    assert str(refused.value).count("\n") == 0


def test_what_they_return_is_looked_at():
    class Talks:
        def on_epoch(self, records, networks):
            return "stop"

    class Begins:
        def on_start(self, start):
            return True

    with pytest.raises(ConfigError, match="on_epoch must return True to end .* returned 'stop'"):
        train(callbacks=Talks())
    with pytest.raises(ConfigError, match="on_start must return None; it returned True"):
        train(callbacks=Begins())


def test_a_state_that_json_does_not_know_is_refused(tmp_path):
    class Holds(Enough):
        def state(self):
            return {"weights": np.ones(2)}

    with pytest.raises(ConfigError, match="Holds.state must return values of JSON's types"):
        train(Checkpoints(tmp_path), callbacks=Holds(3))


def test_methods_of_c_and_base_classes_are_callbacks():
    class Hears:
        on_batch = set().add  # written in C

    assert len(Callbacks([Hears(), gncn.Callback()]).all) == 2
    assert Callbacks(None).all == []


def test_what_comes_of_training_is_shown_in_a_few_lines():
    data = gncn.load_dataset("digits")
    models = [gncn.build(gncn.chain((64, 4)), seed=k, n_settle_steps=2) for k in (0, 1)]
    found = gncn.fit(models, data, gncn.TrainingConfig(n_epochs=2), seeds=(0, 1))
    kept = [f"{record.validation.error:.4g}" for record in found.history[-2:]]
    assert str(found).splitlines() == [
        "Fit: finished after epoch 2",
        f"  trial 0: epoch 2, validation bce {kept[0]}",
        f"  trial 1: epoch 2, validation bce {kept[1]}",
    ]
