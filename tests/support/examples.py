"""How many examples a property is tried with."""

import os


def examples(usual: int) -> int:
    """``usual``, or as many as ``TEST_EXAMPLES`` says."""
    return int(os.environ.get("TEST_EXAMPLES", usual))
