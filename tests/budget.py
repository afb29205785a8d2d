"""How many examples property tests draw."""

from hypothesis import settings


def examples(many: int) -> int:
    """Examples of one test: `many` in ``make test-all``, a fifth of them in ``make test``.

    Args:
        many: how many examples find what there is to find in this test.
    """
    return max(3, many * settings().max_examples // 100)
