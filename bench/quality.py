"""The quality of searches by meaning, by words and by both, on test collections.

Prints for each the share of questions with an answer in the first place (hit@1) and among the first
ten (hit@10), and the ranking of the first ten (nDCG@10, with gains of 2^grade - 1). FOLDER may hold

    structured.jsonl         facts, each with its ``question``
    xquad-docs.jsonl.gz      lines for ``ingest``
    xquad-queries.jsonl.gz   {"query", "lang", "relevant": {source_uri: grade}}
    cranfield-docs.jsonl.gz, cranfield-queries.jsonl.gz  likewise

The default is the folder in the repository, which has the first of these. The product codes are
generated.

    python bench/quality.py [FOLDER] [--embedder NAME] [--sample N]
"""

import argparse
import asyncio
import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from _judged import Collection, Question, read_collections
from _setup import ROOT

from app.config import Settings
from app.domain.search import Query, SearchHit, SearchHits, SearchMode
from containers import Container, create_container, running

SHIPPED = ROOT / "examples" / "search"
MODES = (SearchMode.MEANING, SearchMode.WORDS, SearchMode.AUTO)
PROJECT = "quality"
PATIENCE = 5  # tries: on a busy machine one side may be late


class Score(NamedTuple):
    """The scores of the answer to a question."""

    hit_at_1: float
    hit_at_10: float
    ndcg_at_10: float


def gain(grades: Sequence[int]) -> float:
    """The discounted gain of the first ten results with these grades."""
    return sum((2.0**grade - 1) / math.log2(place + 2) for place, grade in enumerate(grades[:10]))


def score(found: Sequence[str], relevant: Mapping[str, int]) -> Score:
    """Score the keys of ten results, best first."""
    grades = [relevant.get(key, 0) for key in found]
    best = gain(sorted(relevant.values(), reverse=True))
    return Score(float(grades[:1] > [0]), float(any(grades)), gain(grades) / best)


async def fill(container: Container, collection: Collection) -> None:
    """Store and index all facts of the collection."""
    await container.indexing().prepare()
    items, worker = collection.items(), container.worker()
    for start in range(0, len(items), 500):
        await container.ingestion().accept(PROJECT, items[start : start + 500])
    while await worker.run_one() is not None:
        pass


async def ask(
    container: Container, collection: Collection, questions: Sequence[Question], mode: SearchMode
) -> list[Score]:
    """Ask the questions one after the other."""
    search, scores = container.search(), list[Score]()

    def key(hit: SearchHit) -> str:
        return collection.key(hit.extraction.source_uri, hit.extraction.data)

    async def whole_answer(text: str) -> SearchHits:
        for _ in range(PATIENCE):
            found = await search.search(Query(text, PROJECT, mode=mode))
            if not found.degraded:
                return found
        raise SystemExit(f"no complete result for {text!r}: one side was late {PATIENCE} times")

    for question in questions:
        found = await whole_answer(question.text)
        scores.append(score([key(hit) for hit in found], question.relevant))
    return scores


def row(name: str, scores: Mapping[SearchMode, Sequence[Score]]) -> str:
    """A row of the table."""
    cells = [" / ".join(f"{fmean(column):.3f}" for column in zip(*scores[mode], strict=True)) for mode in MODES]
    return f"| {name} | {len(scores[MODES[0]]):,} | {' | '.join(cells)} |"


async def report(container: Container, collection: Collection, every: int) -> None:
    """Print the rows of a collection."""
    await fill(container, collection)
    questions = collection.sample(every)
    scores = {mode: await ask(container, collection, questions, mode) for mode in MODES}
    print(row(collection.name, scores), flush=True)
    for group in filter(None, collection.groups()):
        chosen = [place for place, each in enumerate(questions) if each.group == group]
        of_group = {mode: [scores[mode][place] for place in chosen] for mode in MODES}
        print(row(f"{collection.name}, {group}", of_group), flush=True)


def embedding_of(name: str) -> dict[str, str]:
    """The settings of an embedder; ``model2vec:FOLDER`` is a model in a folder."""
    provider, _, path = name.partition(":")
    return {"provider": provider, **({"path": path} if path else {})}


def main() -> None:
    """Measure each collection in a new store, which is then removed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=SHIPPED)
    parser.add_argument("--embedder", default="wordllama", help="wordllama, multilingual or model2vec:FOLDER")
    parser.add_argument("--sample", type=int, default=1, metavar="N", help="ask every Nth question only")
    arguments = parser.parse_args()

    collections = list(read_collections(arguments.folder))
    print(f"Embedder {arguments.embedder}, 1 question of {arguments.sample}: hit@1 / hit@10 / nDCG@10\n")
    print("| facts | questions | meaning | words | auto |\n|---|---|---|---|---|")
    for collection in collections:
        with tempfile.TemporaryDirectory() as folder:
            stores = {"database": {"url": f"sqlite:///{folder}/a.db"}, "qdrant": {"path": f"{folder}/qdrant"}}
            settings = Settings.model_validate({**stores, "embedding": embedding_of(arguments.embedder)})
            with running(create_container(settings)) as container:
                asyncio.run(report(container, collection, arguments.sample))


if __name__ == "__main__":
    main()
