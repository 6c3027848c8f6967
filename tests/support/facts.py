"""Facts of sources, stored by the services."""

from typing import Any

from app.domain.items import Item, parse_item
from app.domain.outcomes import Replaced
from app.domain.sources import ReplaceOptions, SourceFacts
from containers import Container


def fact(uri: str, text: str, **members: Any) -> Item:
    """A fact of a source; ``members`` are additional fields of the item."""
    raw = {"source_uri": uri, "extraction_type": "fact", "data": {"fact_text": text}, **members}
    return parse_item(raw, ["fact_text"])


async def replaced(
    container: Container,
    uri: str,
    *texts: str,
    project: str = "papers",
    group: str | None = None,
    confidence: float | None = None,
    **options: Any,
) -> Replaced:
    """Replace a source's facts by these, or empty it; ``options`` are those of a replace."""
    facts = [fact(uri, text, source_group=group, confidence=confidence) for text in texts]
    source = SourceFacts(uri, facts, gone=not facts)
    return await container.ingestion().replace(project, [source], ReplaceOptions(**options))
