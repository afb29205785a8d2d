"""What `make test` leaves to `make test-all`."""

from typing import Any

import pytest
from hypothesis import settings


def examples(many: int) -> int:
    """Examples of one test: `many` in ``make test-all``, a fifth of them in ``make test``.

    Args:
        many: how many examples find what there is to find in this test.
    """
    return max(3, many * settings().max_examples // 100)


def later(*values: Any) -> Any:
    """A case of a parametrised test that runs in ``make test-all`` only."""
    return pytest.param(*values, marks=pytest.mark.slow)
