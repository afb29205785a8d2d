"""Parts from outside the package are registered for these tests alone."""

import importlib
import sys

import pytest

import gncn


@pytest.fixture(scope="module")
def stranger():
    """Import a module of this folder afresh, which registers its part."""

    def load(name):
        sys.modules.pop(name, None)
        return importlib.import_module(name)

    return load


@pytest.fixture(scope="session")
def digits():
    return gncn.load_dataset("digits")
