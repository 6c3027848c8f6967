"""Checks after a fault: the stores are compared, and used again."""

from app.domain.upkeep import Differences
from containers import Container
from support.parts import index_all, make_item


async def compared(container: Container, *, repair: bool = False) -> Differences:
    """The differences between the stores; with ``repair``, those left after it."""
    states = [Differences()] + [state async for state in container.reconciliation().run(repair=repair)]
    return states[-1]


async def assert_goes_on(container: Container, *, number: int = 900_000) -> None:
    """Check that an extraction is accepted and indexed, and that both stores agree."""
    accepted = await container.ingestion().accept("next", [make_item(number)])
    assert len(accepted.new) == 1
    await index_all(container)
    found = await compared(container)
    assert (found.remaining, found.extractions) == (0, found.points), found
