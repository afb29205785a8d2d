"""Data sets registered from outside the library, found by their names."""

import numpy as np
import pytest

import gncn
from gncn.base.errors import ConfigError
from gncn.data import DataSource
from gncn.data.loaders import SOURCES


class Stripes(DataSource):
    """Images of 3×3 pixels, each with one vertical stripe."""

    def load(self, *, data_dir, n_validation, split_seed):
        images = np.tile(np.eye(3, dtype=np.uint8), (20, 3))
        chosen = 10 if n_validation is None else n_validation
        return gncn.from_arrays(
            images,
            name="stripes",
            n_validation=chosen,
            n_test=10,
            split_seed=split_seed,
            image_shape=(3, 3),
        )


@pytest.fixture(autouse=True)
def stripes():
    gncn.register("dataset", "stripes", Stripes)
    yield
    SOURCES._entries.pop("stripes")


def test_a_registered_data_set_is_found_by_its_name():
    assert len(gncn.load_dataset("stripes").validation) == 10
    config = gncn.load_config(overrides=["data.name=stripes", "data.n_validation=5"])
    assert len(config.data.load().validation) == 5


def test_names_are_taken_once():
    class Other(Stripes):
        pass

    for name in ("stripes", "mnist"):
        with pytest.raises(ConfigError, match=f"dataset name {name!r} is taken"):
            gncn.register("dataset", name, Other)


def test_what_cannot_load_is_refused():
    class Silent(DataSource):
        pass

    with pytest.raises(ConfigError, match="Silent lacks `load`"):
        gncn.register("dataset", "silent", Silent)
    with pytest.raises(ConfigError, match=r"must be a subclass of `gncn\.DataSource`"):
        gncn.register("dataset", "silent", dict)


@pytest.mark.parametrize("gives", [None, np.zeros((3, 4))])
def test_what_loads_something_else_is_refused(gives):
    class Odd(DataSource):
        def load(self, *, data_dir, n_validation, split_seed):
            return gives

    gncn.register("dataset", "odd", Odd)
    try:
        with pytest.raises(
            ConfigError, match=r"Odd\.load.*'odd', must return a `gncn\.Dataset`.*it gave"
        ):
            gncn.load_dataset("odd")
    finally:
        del SOURCES._entries["odd"]


def test_a_class_that_needs_arguments_is_refused():
    class Needy(Stripes):
        def __init__(self, folder):
            self.folder = folder

    with pytest.raises(ConfigError, match=r"Needy\(\) is made without arguments: .*'folder'"):
        gncn.register("dataset", "needy", Needy)


def test_options_of_one_data_set_do_not_reach_another():
    with pytest.raises(ConfigError, match="allow_missing_train is for 'kmnist' only"):
        gncn.load_dataset("stripes", allow_missing_train=True)
    with pytest.raises(ConfigError, match="Unknown data set 'strips'.*'mnist'"):
        gncn.load_dataset("strips")
