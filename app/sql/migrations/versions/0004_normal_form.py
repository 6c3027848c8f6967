"""Sources, groups, types and data in NFC; no index on URIs; project names sorted by code point.

A source that was stored in two spellings becomes one, with the group of the older. Ids of
extractions don't change, because they were always derived from NFC. Jobs are queued for the vectors
and payloads of extractions whose spelling changes.

Revision ID: 0004
Revises: 0003
"""

import unicodedata
import uuid
from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from typing import Any

import orjson
import sqlalchemy as sa
from alembic import op

from app.models import UtcDateTime, UuidText

revision = "0004"
down_revision = "0003"

_PAGE = 100
"""Rows that are read at once; a row may have 4 MB."""

_IDS_A_JOB = 1_000

_NOT_ASCII = {
    "postgresql": "octet_length(CAST({0} AS text)) <> char_length(CAST({0} AS text))",
    "sqlite": "length({0}) <> length(CAST({0} AS BLOB))",
}

_SOURCES = sa.table(
    "sources",
    sa.column("id", UuidText()),
    sa.column("project_id", UuidText()),
    sa.column("uri", sa.Text()),
    sa.column("source_group", sa.Text()),
    sa.column("created_at", UtcDateTime()),
)
_EXTRACTIONS = sa.table(
    "extractions",
    sa.column("id", UuidText()),
    sa.column("source_id", UuidText()),
    sa.column("extraction_type", sa.Text()),
    sa.column("embedding_id", sa.Text()),
    sa.column("data", sa.JSON()),
)
_JOBS = sa.table(
    "jobs",
    sa.column("id", UuidText()),
    sa.column("type", sa.Text()),
    sa.column("status", sa.Text()),
    *(sa.column(name, UtcDateTime()) for name in ("created_at", "updated_at", "run_at")),
    *(sa.column(name, sa.Integer()) for name in ("priority", "attempt", "failures", "lapses", "done")),
    sa.column("payload", sa.JSON()),
)

_Ids = set[uuid.UUID]


def upgrade() -> None:
    """To this revision."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute('ALTER TABLE sources DROP CONSTRAINT IF EXISTS "uq_sources_project_id_uri"')
        op.alter_column("projects", "name", type_=sa.Text(collation="C"), existing_nullable=False)
    else:
        _make_sources_again()
    relabelled = _respell_sources() | _respell_types()
    embedded = _respell_data()
    _queue("embed", embedded)
    _queue("update_payload", relabelled - embedded)


def downgrade() -> None:
    """Back to 0003, except the spellings and the index on URIs, which 0003 doesn't need."""
    if op.get_bind().dialect.name == "postgresql":
        op.alter_column("projects", "name", type_=sa.Text(collation="default"), existing_nullable=False)


def _make_sources_again() -> None:
    """Recreate the table, because SQLite can't drop a constraint.

    ``foreign_keys`` must be off, or dropping the old table deletes the extractions.
    """
    if op.get_bind().scalar(sa.text("PRAGMA foreign_keys")):
        raise RuntimeError("foreign keys are on; run `agent-storage db upgrade` instead")
    op.create_table(
        "sources_without_unique_uri",
        sa.Column("id", UuidText(), nullable=False),
        sa.Column("project_id", UuidText(), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("source_group", sa.Text(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sources"),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name="fk_sources_project_id_projects", ondelete="CASCADE"
        ),
    )
    columns = "id, project_id, uri, source_group, created_at"
    op.execute(f"INSERT INTO sources_without_unique_uri ({columns}) SELECT {columns} FROM sources")  # noqa: S608 - constants
    op.drop_table("sources")
    op.rename_table("sources_without_unique_uri", "sources")
    op.create_index("ix_sources_project_id_source_group", "sources", ["project_id", "source_group"])


def _respell_sources() -> _Ids:
    """Returns the extractions whose group was changed, of those with a vector."""
    spellings = defaultdict[uuid.UUID, list[sa.Row[Any]]](list)
    for row in _rows(sa.select(*_SOURCES.c).where(_not_ascii("uri") | _not_ascii("source_group"))):
        if (_nfc(row.uri), _group(row)) != (row.uri, row.source_group):
            spellings[uuid.uuid5(row.project_id, _nfc(row.uri))].append(row)
    changed = _Ids()
    for source_id, rows in spellings.items():
        changed |= _make_one(source_id, rows)
    return changed


def _make_one(source_id: uuid.UUID, respelt: list[sa.Row[Any]]) -> _Ids:
    here = _rows(sa.select(*_SOURCES.c).where(_SOURCES.c.id == source_id))
    rows = {row.id: row for row in (*respelt, *here)}
    first = min(rows.values(), key=lambda row: (row.created_at, row.id))
    values = {"uri": _nfc(first.uri), "source_group": _group(first)}
    if here:
        op.execute(_SOURCES.update().where(_SOURCES.c.id == source_id).values(values))
    else:
        given = {"id": source_id, "project_id": first.project_id, "created_at": first.created_at}
        op.execute(_SOURCES.insert().values(given | values))
    regrouped = [row.id for row in rows.values() if row.source_group != values["source_group"]]
    changed = _marked(_EXTRACTIONS.c.source_id.in_(regrouped))
    old = [old for old in rows if old != source_id]
    op.execute(_EXTRACTIONS.update().where(_EXTRACTIONS.c.source_id.in_(old)).values(source_id=source_id))
    op.execute(_SOURCES.delete().where(_SOURCES.c.id.in_(old)))
    return changed


def _respell_types() -> _Ids:
    """Returns the extractions whose type was changed, of those with a vector."""
    changed = _Ids()
    type_ = _EXTRACTIONS.c.extraction_type
    types = _rows(sa.select(type_).distinct().where(_not_ascii("extraction_type")))
    for old in (row.extraction_type for row in types):
        if _nfc(old) != old:
            changed |= _marked(type_ == old)
            op.execute(_EXTRACTIONS.update().where(type_ == old).values(extraction_type=_nfc(old)))
    return changed


def _respell_data() -> _Ids:
    """Returns the extractions whose data was changed, and which therefore wait for a vector."""
    changed = _Ids()
    key, text = _EXTRACTIONS.c.id, sa.cast(_EXTRACTIONS.c.data, sa.Text())
    chosen = sa.select(key, text.label("text")).where(_not_ascii("data")).order_by(key).limit(_PAGE)
    update = (
        _EXTRACTIONS.update()
        .where(key == sa.bindparam("key"))
        .values(data=sa.bindparam("respelt"), embedding_id=None)
    )
    for rows in _pages(chosen):
        respelt = [{"key": row.id, "respelt": data} for row in rows if (data := _respelt(row.text)) is not None]
        if respelt:
            op.get_bind().execute(update, respelt)
            changed.update(each["key"] for each in respelt)
    return changed


def _respelt(written: str) -> Any:  # noqa: ANN401 - a JSON value
    """The data in NFC; None if it was."""
    if unicodedata.is_normalized("NFC", written):
        return None
    data = orjson.loads(written)
    return respelt if (respelt := _nfc_of_all(data)) != data else None


def _pages(chosen: sa.Select[Any]) -> Iterator[list[sa.Row[Any]]]:
    rows = _rows(chosen)
    while rows:
        yield rows
        rows = _rows(chosen.where(_EXTRACTIONS.c.id > rows[-1].id))


def _queue(job_type: str, ids: Collection[uuid.UUID]) -> None:
    texts, now = sorted(map(str, ids)), datetime.now(UTC)
    for start in range(0, len(texts), _IDS_A_JOB):
        values = {
            "id": uuid.uuid4(),
            "type": job_type,
            "status": "queued",
            **dict.fromkeys(("created_at", "updated_at", "run_at"), now),
            **dict.fromkeys(("priority", "attempt", "failures", "lapses", "done"), 0),
            "payload": {"extraction_ids": texts[start : start + _IDS_A_JOB]},
        }
        op.execute(_JOBS.insert().values(values))


def _marked(chosen: sa.ColumnElement[bool]) -> _Ids:
    marked = sa.select(_EXTRACTIONS.c.id).where(chosen, _EXTRACTIONS.c.embedding_id.is_not(None))
    return {row.id for row in _rows(marked)}


def _rows(query: sa.Select[Any]) -> list[sa.Row[Any]]:
    return list(op.get_bind().execute(query))


def _not_ascii(column: str) -> sa.ColumnElement[bool]:
    return sa.literal_column(_NOT_ASCII[op.get_bind().dialect.name].format(column), sa.Boolean())


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _group(row: sa.Row[Any]) -> str | None:
    return None if row.source_group is None else _nfc(row.source_group)


def _nfc_of_all(value: Any) -> Any:  # noqa: ANN401 - a JSON value
    if isinstance(value, str):
        return _nfc(value)
    if isinstance(value, dict):
        # Older versions accepted two keys that are equal in NFC; both values are kept.
        twice = len({_nfc(key) for key in value}) < len(value)
        return {key if twice else _nfc(key): _nfc_of_all(member) for key, member in value.items()}
    return [_nfc_of_all(member) for member in value] if isinstance(value, list) else value
