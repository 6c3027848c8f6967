"""A vector store that has lost everything: what LangChain's index() and agent-storage do.

Both store the same documents. Then the collection is emptied, as by a restore of an older snapshot,
and the same documents are stored again. LangChain's record manager knows them and skips each.
agent-storage stores nothing twice either, but reports the missing vectors (``verify``) and embeds
the documents again (``verify --repair``).

    python bench/drift.py [FILE] [--count 2000]
"""

import argparse
import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from _setup import EXAMPLE, read_extractions

SIZE = 256


def langchain(items: list[dict[str, Any]]) -> None:
    """Print what the second ``index()`` reports, and how many vectors there are after it."""
    from langchain_classic.indexes import SQLRecordManager, index
    from langchain_core.documents import Document
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, Filter, FilterSelector, VectorParams

    documents = [Document(item["data"]["fact_text"], metadata={"source": item["source_uri"]}) for item in items]
    client = QdrantClient(":memory:")
    client.create_collection("extractions", VectorParams(size=SIZE, distance=Distance.COSINE))
    store = QdrantVectorStore(client, "extractions", DeterministicFakeEmbedding(size=SIZE))
    with tempfile.TemporaryDirectory() as folder:
        records = SQLRecordManager("wordnet", db_url=f"sqlite:///{folder}/records.db")
        records.create_schema()
        for emptied in (False, True):
            if emptied:
                client.delete("extractions", FilterSelector(filter=Filter()))
            told = index(documents, records, store, cleanup="scoped_full", source_id_key="source")
            vectors = client.count("extractions").count
            print(f"  {'emptied, again' if emptied else 'first'}: {told}, {vectors:,} vectors")


async def ours(items: list[dict[str, Any]]) -> None:
    """Print what ``ingest`` and ``verify`` report."""
    from app.domain.items import parse_item
    from app.domain.upkeep import Differences
    from containers import Container, create_container, running

    async def compare(container: Container, *, repair: bool) -> Differences:
        states = [state async for state in container.reconciliation().run(repair=repair)]
        return states[-1]

    with running(create_container()) as container:
        await container.indexing().prepare()
        given = [parse_item(item, ("fact_text",)) for item in items]
        for emptied in (False, True):
            if emptied:
                client = container.qdrant_client()
                while ids := list(client.scroll(None, 1_000, None)[0]):
                    client.delete(ids)
            accepted = await container.ingestion().accept("wordnet", given)
            while await container.worker().run_one() is not None:
                pass
            vectors = await container.qdrant_repository().count()
            print(
                f"  {'emptied, again' if emptied else 'first'}: {len(accepted.new):,} new, {vectors:,} vectors"
            )
        found = await compare(container, repair=False)
        print(f"  verify: {found.missing:,} missing")
        repaired = await compare(container, repair=True)
        vectors = await container.qdrant_repository().count()
        print(f"  verify --repair: {repaired.remaining:,} differences left, {vectors:,} vectors")


def main() -> None:
    """Run both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, nargs="?", default=EXAMPLE)
    parser.add_argument("--count", type=int, default=2_000)
    arguments = parser.parse_args()
    items = read_extractions(arguments.file, arguments.count)
    print("LangChain's index():")
    langchain(items)
    print("agent-storage:")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["DATABASE_URL"] = f"sqlite:///{folder}/bench.db"
        os.environ["QDRANT_MODE"] = "memory"
        asyncio.run(ours(items))


if __name__ == "__main__":
    main()
