"""Deletes many ids in a separate process, to measure its memory.

Run as ``python -m support.heavy FOLDER COUNT``.
"""

import asyncio
import json
import sys
import uuid
from pathlib import Path

from support.memory import peak_mib
from support.parts import fill, index_all, make_item, open_container


async def main(folder: Path, count: int) -> None:
    """Delete half of 100 extractions only in the repository, the rest through SQL and its jobs."""
    with open_container(folder, mode="embedded") as container:
        await fill(container, [make_item(number) for number in range(100)])
        points = [point async for page in container.qdrant_repository().iter_point_ids() for point in page]
        strangers = [str(uuid.UUID(int=number)) for number in range(count - 50)]
        ids = [*strangers, *points[:50]]
        before_mib = peak_mib()
        vectors = await container.qdrant_repository().delete_batch(ids)
        ids[-50:] = points[50:]
        rows = (await container.extractions().delete_batch("papers", ids)).extractions
        await index_all(container)
        left = await container.qdrant_repository().count()
        print(json.dumps([vectors, rows, left, peak_mib() - before_mib]))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
