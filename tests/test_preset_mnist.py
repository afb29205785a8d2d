"""The default preset on real MNIST, as `make demo` trains it."""

import pytest

import gncn


@pytest.mark.slow
def test_the_default_preset_is_sharp_and_sparse_on_validation_images():
    config = gncn.load_config(preset="mnist")
    data = config.data.load()
    assert len(data.train) == 58_000
    networks = config.models(data)
    last = gncn.fit(networks, data, config.training, seeds=config.seeds).history[-1]
    assert last.validation.error <= 55
    assert last.validation.sparsity[-1] <= 0.25
