"""The corpus of the fuzzer, and some inputs at random; `make fuzz` draws a million."""

import random

import pytest
from tests.fuzz.mutations import harmed
from tests.fuzz.run import CORPUS
from tests.fuzz.targets import TARGETS, feed, sound


@pytest.mark.parametrize("name", TARGETS)
def test_a_sound_file_is_read(name):
    if name != "mat":  # only the files that are published are sound
        assert feed(name, sound(name)) is None


@pytest.mark.parametrize("path", sorted(CORPUS.glob("*/*")), ids=lambda path: path.name)
def test_what_was_found_before(path):
    feed(path.parent.name, path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("n_inputs", [20, pytest.param(500, marks=pytest.mark.slow)])
def test_harmed_files_are_read_or_refused_in_words(name, n_inputs):
    draw, content = random.Random(0), sound(name)
    for _ in range(n_inputs):
        feed(name, harmed(content, draw))
