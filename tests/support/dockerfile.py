"""The Dockerfile: its instructions, and what the image's containers run with."""

import re
import shlex
from pathlib import Path

DOCKERFILE = Path(__file__).parents[2] / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """The instructions with their arguments, without comments, with lines joined."""
    text = re.sub(r"(?m)^\s*#.*\n", "", DOCKERFILE.read_text()).replace("\\\n", " ")
    split = [line.strip().partition(" ") for line in text.splitlines() if line.strip()]
    return [(word.upper(), rest.strip()) for word, _, rest in split]


def of(word: str) -> list[str]:
    """The arguments of the instructions of this name."""
    return [rest for found, rest in instructions() if found == word]


def last_stage(word: str) -> list[str]:
    """The arguments of the last stage's instructions of this name."""
    start = max(place for place, (found, _) in enumerate(instructions()) if found == "FROM")
    return [rest for found, rest in instructions()[start:] if found == word]


def variables() -> dict[str, str]:
    """The variables that ``ENV`` sets."""
    (given,) = of("ENV")
    return dict(pair.split("=", 1) for pair in shlex.split(given))
