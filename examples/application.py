"""agent-storage inside another program: store facts, have them indexed, and find them again.

Run it from anywhere: ``python examples/application.py``. The data goes where the settings say, by
default below ``data/``.
"""

import asyncio

from app.config import Settings, load_settings
from app.domain.items import parse_item
from app.domain.search import Query, SearchHits
from containers import Container, create_container, running

FACTS = [
    ("https://example.org/report.pdf", "The bridge was closed for repairs in May."),
    ("https://example.org/report.pdf", "A new ferry carries cars across the river."),
    ("https://example.org/letter.txt", "The bakery opens at six in the morning."),
]


async def store_and_find(container: Container, settings: Settings, question: str) -> SearchHits:
    """Store the facts, let a worker index them, and ask."""
    # Makes the collection, and refuses one that another embedder has filled.
    await container.indexing().prepare()

    fields = settings.embedding.text_fields
    items = [
        parse_item({"source_uri": source, "extraction_type": "fact", "data": {"text": text}}, fields)
        for source, text in FACTS
    ]
    # When this returns they are on disk, with the job that will index them.
    accepted = await container.ingestion().accept("notes", items)
    print(f"{len(accepted.new)} new, {len(items) - len(accepted.new)} known")

    # Run the jobs that wait, one after the other. A service has `worker.run()`, until
    # `worker.stop()`.
    worker = container.worker()
    while await worker.run_one() is not None:
        pass

    return await container.search().search(Query(question, project="notes", limit=2))


def main() -> None:
    """The three steps of every entry point: settings, container, run."""
    settings = load_settings()
    with running(create_container(settings)) as container:
        for found in asyncio.run(store_and_find(container, settings, "crossing the water")):
            print(f"{found.score:.3f}  {found.extraction.data['text']}  ({found.extraction.source_uri})")


if __name__ == "__main__":
    main()
