"""What revision 0006 makes of an index that doesn't say how its texts were made."""

from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import Engine, text
from support.parts import fill, make_item, open_container

from app.errors import TextsMismatch
from app.sql import schema


def migrate(engine: Engine, revision: str) -> None:
    config = schema.alembic_config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        (command.upgrade if revision > "0005" else command.downgrade)(config, revision)


async def test_an_index_from_before_is_refused_until_it_is_made_again(engine: Engine, tmp_path: Path) -> None:
    with open_container(tmp_path, engine=engine, mode="embedded") as container:
        await fill(container, [make_item(1)])
    migrate(engine, "0005")
    migrate(engine, schema.HEAD)
    with open_container(tmp_path, engine=engine, mode="embedded") as container:
        with pytest.raises(TextsMismatch, match=r"version 1, .*agent-storage reindex"):
            await container.indexing().prepare()
        async for _ in container.reindexing().run():
            pass
        await container.indexing().prepare()


def test_the_way_back_leaves_what_was_there(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO index_state (id, embedder_name, embedder_version, dimension, rebuilding, generation, texts) "
                "VALUES (1, 'own', '7', 3, false, 5, 'version 2')"
            )
        )
    migrate(engine, "0005")
    with engine.connect() as connection:
        before = connection.execute(text("SELECT * FROM index_state")).mappings().one()
    assert dict(before) == {
        "id": 1,
        "embedder_name": "own",
        "embedder_version": "7",
        "dimension": 3,
        "rebuilding": False,
        "generation": 5,
    }
    migrate(engine, "0006")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT texts FROM index_state")) == "version 1"
