"""The number of examples for a property test."""

import os


def examples(usual: int) -> int:
    """``usual``, or the number in ``TEST_EXAMPLES``."""
    return int(os.environ.get("TEST_EXAMPLES", usual))
