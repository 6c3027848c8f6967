"""``agent-storage ingest`` with the embedded default, against LangChain's ``index()``.

Both use the same embedder. Ours is the command in a separate process, on a new folder: read, parse,
store, embed, index, mark. Its rate is the command's own, from opening the file to the last mark;
its memory is the process's peak. LangChain's is ``index()`` with a SQLite record manager onto
``QdrantClient(path=...)``, for the first documents only, because each takes about a millisecond.

    python bench/ingest.py [FILE] [--rounds 3] [--langchain 2000]
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from _setup import EXAMPLE, read_extractions, run_ingest


def ours(file: Path) -> tuple[float, float, float]:
    """Run the command: extractions a second, peak memory in MB, seconds of the whole process."""
    report, usage, seconds = run_ingest(file)
    return report["new"] / report["seconds"], usage.ru_maxrss / 1024, seconds


def langchain(
    items: list[dict[str, Any]], *, cleanup: Literal["scoped_full"] | None = None, times: int = 1
) -> float:
    """Index the same documents ``times`` times; return documents a second of the last time."""
    from langchain_classic.indexes import SQLRecordManager, index
    from langchain_core.documents import Document
    from langchain_qdrant import QdrantVectorStore
    from qdrant_client import QdrantClient
    from qdrant_client.models import Distance, VectorParams

    documents = [
        Document(item["data"]["fact_text"], metadata={"source": item["source_uri"], **item["data"]})
        for item in items
    ]
    with tempfile.TemporaryDirectory() as folder:
        client = QdrantClient(path=f"{folder}/qdrant")
        client.create_collection("extractions", VectorParams(size=256, distance=Distance.COSINE))
        store = QdrantVectorStore(client, "extractions", wordllama_embeddings())
        records = SQLRecordManager("wordnet", db_url=f"sqlite:///{folder}/records.db")
        records.create_schema()
        seconds = 0.0
        for _ in range(times):
            started = time.perf_counter()
            index(
                documents,
                records,
                store,
                cleanup=cleanup,
                source_id_key="source",
                batch_size=1_000,
                key_encoder="sha1",
            )
            seconds = time.perf_counter() - started
        client.close()
    return len(documents) / seconds


def wordllama_embeddings() -> Any:  # noqa: ANN401 - LangChain may not be installed
    """The product's default embedder, as LangChain's interface."""
    from langchain_core.embeddings import Embeddings

    from app.services.embedding.wordllama import _load

    model = _load()
    model.tokenizer.enable_padding()

    def embed_documents(_: object, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = model.embed(texts, norm=True).tolist()
        return vectors

    def embed_query(self: object, text: str) -> list[float]:
        return embed_documents(self, [text])[0]

    # Not a class statement: for mypy, the base is Any unless `make bench` has installed it.
    methods = {f.__name__: f for f in (embed_documents, embed_query)}
    return type("WordLlama", (Embeddings,), methods)()


def main() -> None:
    """Take turns and print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", nargs="?", type=Path, default=EXAMPLE)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--langchain", type=int, default=2_000, metavar="COUNT")
    arguments = parser.parse_args()
    items = read_extractions(arguments.file, arguments.langchain)
    rounds = [(ours(arguments.file), langchain(items)) for _ in range(arguments.rounds)]
    rate, memory, seconds = (statistics.median(each[0][place] for each in rounds) for place in range(3))
    other = statistics.median(each[1] for each in rounds)
    print(f"agent-storage {rate:8,.0f} extractions/s, peak {memory:,.0f} MB, whole process {seconds:.1f} s")
    print(f"LangChain     {other:8,.0f} documents/s, on the first {len(items):,}")
    print(f"ratio         {rate / other:8.1f}")


if __name__ == "__main__":
    main()
