"""Texts a second of the default embedder, against the library's own call.

The texts are the example's definitions. Run with ``python bench/embedding.py``.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable

from _setup import lane, read_extractions

from app.services.embedding.wordllama import WordllamaEmbedder, _load


def rate(embed: Callable[[], object], texts: int) -> float:
    """Measure texts a second."""
    started = time.perf_counter()
    embed()
    return texts / (time.perf_counter() - started)


def main(texts: list[str], rounds: int) -> None:
    """Take turns, so that other load affects both, and print the medians and their ratio."""
    library = _load()
    library.tokenizer.enable_padding()
    with lane("embedding") as its_lane:
        embedder = WordllamaEmbedder(its_lane, batch_size=256)
        contestants = {
            "embedder": lambda: asyncio.run(embedder.embed(texts)),
            "library": lambda: library.embed(texts, norm=True),
        }
        rates: dict[str, list[float]] = {name: [] for name in contestants}
        for _ in range(rounds + 1):
            for name, embed in contestants.items():
                rates[name].append(rate(embed, len(texts)))
    medians = {name: statistics.median(found[1:]) for name, found in rates.items()}  # the first warms up
    for name, median in medians.items():
        print(f"{name:10} {median:10,.0f} texts/s")
    print(f"ratio      {medians['embedder'] / medians['library']:10.2f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    main([each["data"]["fact_text"] for each in read_extractions()], parser.parse_args().rounds)
