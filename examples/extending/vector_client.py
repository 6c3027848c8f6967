"""Custom vector stores: one in numpy, and one in PostgreSQL beside the facts, with pgvector."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
from dependency_injector import providers
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine, TextClause, bindparam, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.config import Settings
from app.domain.filters import Filters
from app.services.storage.qdrant.ports import (
    DISTANCE,
    ClientFailure,
    CollectionInfo,
    Payload,
    PointQuery,
    ScoredPoint,
)
from containers import Container, create_container

P = ParamSpec("P")
T = TypeVar("T")


@dataclass
class _Points:
    dimension: int
    owner: str | None
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    payloads: dict[str, Payload] = field(default_factory=dict)


def _locked(
    call: Callable[Concatenate["NumpyClient", P], T],
) -> Callable[Concatenate["NumpyClient", P], T]:
    def run(self: "NumpyClient", /, *args: P.args, **kwargs: P.kwargs) -> T:
        with self.lock:
            if self.closed:
                raise ClientFailure("the client is closed")
            return call(self, *args, **kwargs)

    return run


class NumpyClient:
    """Keeps the points in this process; a search compares with every one of them."""

    max_calls = None  # as many as executor.qdrant_limit says; the lock puts them in turn

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.closed = False
        self._made: _Points | None = None

    def batch_size(self, dimension: int) -> int:  # noqa: ARG002 - it copies a row whatever its length
        return 1_000

    @_locked
    def get_collection(self) -> CollectionInfo | None:
        if self._made is None:
            return None
        return CollectionInfo(self._made.dimension, DISTANCE, indexed=True, owner=self._made.owner)

    @_locked
    def create_collection(self, dimension: int, owner: str | None = None) -> None:
        self._made = self._made or _Points(dimension, owner)

    @_locked
    def set_owner(self, owner: str) -> None:
        self._points().owner = owner

    @_locked
    def delete_collection(self) -> None:
        self._made = None

    @_locked
    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[Payload]) -> None:
        self._points().vectors.update(zip(ids, vectors, strict=True))
        self._points().payloads.update(zip(ids, payloads, strict=True))

    @_locked
    def query_points(self, vector: NDArray[np.float32], query: PointQuery) -> list[ScoredPoint]:
        points = self._points()
        ids = [id_ for id_, payload in points.payloads.items() if _passes(id_, payload, query.filters)]
        if not ids:
            return []
        scores = np.stack([points.vectors[id_] for id_ in ids]) @ vector
        best = np.argsort(-scores, kind="stable")[query.offset : query.offset + query.limit]
        return [ScoredPoint(ids[n], float(scores[n]), points.payloads[ids[n]]) for n in best]

    @_locked
    def retrieve(self, ids: Sequence[str], *, payloads: bool = False) -> dict[str, Payload]:
        held = self._points().payloads
        return {id_: held[id_] if payloads else {} for id_ in ids if id_ in held}

    @_locked
    def set_payloads(self, groups: Sequence[tuple[Payload, Sequence[str]]]) -> None:
        held = self._points().payloads
        for payload, ids in groups:
            held.update((id_, payload) for id_ in ids if id_ in held)

    @_locked
    def delete(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            self._points().vectors.pop(id_, None)
            self._points().payloads.pop(id_, None)

    @_locked
    def scroll(
        self, start: str | None, limit: int, filters: Filters | None, *, payloads: bool = False
    ) -> tuple[dict[str, Payload], str | None]:
        held = self._points().payloads
        ids = sorted(id_ for id_ in held if id_ >= (start or "") and _passes(id_, held[id_], filters))
        found = {id_: dict(held[id_]) if payloads else {} for id_ in ids[:limit]}
        return found, next(iter(ids[limit:]), None)

    @_locked
    def count(self) -> int:
        return len(self._points().vectors)

    @_locked
    def optimize(self) -> None:
        """There is nothing to build."""

    @_locked
    def ping(self) -> None:
        """It is here."""

    def close(self) -> None:
        self.closed, self._made = True, None

    def _points(self) -> _Points:
        if self._made is None:
            raise ClientFailure("there is no such collection", missing=True)
        return self._made


def _passes(id_: str, payload: Payload, filters: Filters | None) -> bool:
    if filters is None:
        return True
    confidence = payload.get("confidence")
    bounds = (filters.min_confidence, filters.max_confidence)
    return (
        (filters.project_id is None or payload.get("project_id") == str(filters.project_id))
        and (not filters.source_groups or payload.get("source_group") in filters.source_groups)
        and (not filters.extraction_types or payload.get("extraction_type") in filters.extraction_types)
        and (bounds[0] is None or (confidence is not None and confidence >= bounds[0]))
        and (bounds[1] is None or (confidence is not None and confidence <= bounds[1]))
        and (filters.extraction_ids is None or id_ in map(str, filters.extraction_ids))
    )


# --- pgvector --------------------------------------------------------------------------------

_TABLE = "vector_points"


class PgvectorClient:
    """Keeps the points in a table beside the extractions; needs the extension ``vector``."""

    max_calls = None  # as many as executor.qdrant_limit says; each takes a connection of the engine's pool

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._closed = False

    def batch_size(self, dimension: int) -> int:  # noqa: ARG002 - one statement a batch, whatever its width
        return 500

    def get_collection(self) -> CollectionInfo | None:
        with self._transaction() as connection:
            if connection.scalar(text(f"SELECT to_regclass('{_TABLE}')")) is None:
                return None
            dimension = connection.scalar(
                text(
                    f"SELECT atttypmod FROM pg_attribute WHERE attrelid = '{_TABLE}'::regclass AND attname = 'vector'"
                )
            )
            owner = connection.scalar(text(f"SELECT obj_description('{_TABLE}'::regclass)"))
        return CollectionInfo(int(dimension or 0), DISTANCE, indexed=True, owner=owner)

    def create_collection(self, dimension: int, owner: str | None = None) -> None:
        if self.get_collection() is not None:
            return
        with self._transaction() as connection:
            connection.execute(text("CREATE EXTENSION IF NOT EXISTS vector"))
            connection.execute(
                text(
                    f"CREATE TABLE {_TABLE} (id uuid PRIMARY KEY, vector vector({int(dimension)}), payload jsonb)"
                )
            )
            connection.execute(text(f"CREATE INDEX ON {_TABLE} USING hnsw (vector vector_ip_ops)"))
            connection.execute(text(f"CREATE INDEX ON {_TABLE} ((payload->>'project_id'))"))
        if owner is not None:
            self.set_owner(owner)

    def set_owner(self, owner: str) -> None:
        with self._transaction() as connection:
            quoted = connection.scalar(text("SELECT quote_literal(:owner)"), {"owner": owner})
            connection.exec_driver_sql(f"COMMENT ON TABLE {_TABLE} IS {quoted}")

    def delete_collection(self) -> None:
        with self._transaction() as connection:
            connection.execute(text(f"DROP TABLE IF EXISTS {_TABLE}"))

    def upsert(self, ids: Sequence[str], vectors: NDArray[np.float32], payloads: Sequence[Payload]) -> None:
        rows = zip(ids, vectors, payloads, strict=True)
        self._execute(
            f"INSERT INTO {_TABLE} SELECT * FROM jsonb_to_recordset(:rows) AS r(id uuid, vector vector, payload jsonb) "
            "ON CONFLICT (id) DO UPDATE SET vector = excluded.vector, payload = excluded.payload",
            rows=[{"id": id_, "vector": str(row.tolist()), "payload": payload} for id_, row, payload in rows],
        )

    def query_points(self, vector: NDArray[np.float32], query: PointQuery) -> list[ScoredPoint]:
        where, values = _conditions(query.filters)
        values |= {"vector": str(vector.tolist()), "limit": query.limit, "offset": query.offset}
        nearest = (
            f"FROM {_TABLE} {where} ORDER BY vector <#> CAST(:vector AS vector) LIMIT :limit OFFSET :offset"
        )
        with self._transaction() as connection:
            # The index alone gives 40 candidates, and filters would leave fewer.
            connection.execute(text("SET LOCAL hnsw.iterative_scan = strict_order"))
            connection.execute(
                text(f"SET LOCAL hnsw.ef_search = {min(max(query.offset + query.limit, 40), 1_000)}")
            )
            found = connection.execute(
                text(f"SELECT id, -(vector <#> CAST(:vector AS vector)), payload {nearest}"), values
            )
            return [ScoredPoint(str(id_), score, payload) for id_, score, payload in found]

    def retrieve(self, ids: Sequence[str], *, payloads: bool = False) -> dict[str, Payload]:
        sql = f"SELECT id, payload FROM {_TABLE} WHERE id = ANY(CAST(:ids AS uuid[]))"
        found = self._execute(sql, ids=list(ids))
        return {str(id_): payload if payloads else {} for id_, payload in found}

    def set_payloads(self, groups: Sequence[tuple[Payload, Sequence[str]]]) -> None:
        with self._transaction() as connection:
            for payload, ids in groups:
                statement = _statement(
                    f"UPDATE {_TABLE} SET payload = :payload WHERE id = ANY(CAST(:ids AS uuid[]))", "payload"
                )
                connection.execute(statement, {"payload": payload, "ids": list(ids)})

    def delete(self, ids: Sequence[str]) -> None:
        self._execute(f"DELETE FROM {_TABLE} WHERE id = ANY(CAST(:ids AS uuid[]))", ids=list(ids))

    def scroll(
        self, start: str | None, limit: int, filters: Filters | None, *, payloads: bool = False
    ) -> tuple[dict[str, Payload], str | None]:
        where, values = _conditions(filters, *(["id >= CAST(:start AS uuid)"] if start else []))
        sql = f"SELECT id, payload FROM {_TABLE} {where} ORDER BY id LIMIT :most"
        rows = self._execute(sql, **values, start=start, most=limit + 1)
        found = {str(id_): payload if payloads else {} for id_, payload in rows[:limit]}
        return found, next((str(id_) for id_, _ in rows[limit:]), None)

    def count(self) -> int:
        [(count,)] = self._execute(f"SELECT count(*) FROM {_TABLE}")
        return int(count)

    def optimize(self) -> None:
        """The index is kept up to date by each statement."""

    def ping(self) -> None:
        self._execute("SELECT 1")

    def close(self) -> None:
        """The engine is the container's, and is closed there."""
        self._closed = True

    def _execute(self, sql: str, **values: Any) -> Sequence[Any]:  # noqa: ANN401 - of each column's type
        statement = _statement(sql, *(["rows"] if "rows" in values else []))
        with self._transaction() as connection:
            result = connection.execute(statement, {name: v for name, v in values.items() if f":{name}" in sql})
            return result.all() if result.returns_rows else []

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        if self._closed:
            raise ClientFailure("the client is closed")
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            missing = getattr(error.orig, "sqlstate", None) == "42P01"
            passing = error.connection_invalidated
            raise ClientFailure(str(error.orig), missing=missing, transient=passing) from error
        except SQLAlchemyError as error:
            raise ClientFailure(str(error), transient=True) from error  # no connection came free


def _statement(sql: str, *json: str) -> TextClause:
    return text(sql).bindparams(*(bindparam(name, type_=JSONB) for name in json))


def _conditions(filters: Filters | None, *others: str) -> tuple[str, dict[str, Any]]:
    """The WHERE clause and its values."""
    given: dict[str, tuple[str, Any]] = {}
    if filters is not None:
        project = None if filters.project_id is None else str(filters.project_id)
        ids = None if filters.extraction_ids is None else list(map(str, filters.extraction_ids))
        given = {
            "project": ("payload->>'project_id' = :project", project),
            "groups": ("payload->>'source_group' = ANY(:groups)", list(filters.source_groups) or None),
            "types": ("payload->>'extraction_type' = ANY(:types)", list(filters.extraction_types) or None),
            "least": ("CAST(payload->>'confidence' AS float8) >= :least", filters.min_confidence),
            "most_sure": ("CAST(payload->>'confidence' AS float8) <= :most_sure", filters.max_confidence),
            "among": ("id = ANY(CAST(:among AS uuid[]))", ids),
        }
    used = {name: pair for name, pair in given.items() if pair[1] is not None}
    clauses = [*others, *(clause for clause, _ in used.values())]
    return f"WHERE {' AND '.join(clauses)}" if clauses else "", {name: v for name, (_, v) in used.items()}


# --- in the container ----------------------------------------------------------------------


def container_with_numpy(settings: Settings) -> Container:
    """Needs nothing of the container."""
    return create_container(settings, qdrant_client=NumpyClient())


def container_with_pgvector(settings: Settings) -> Container:
    """On the container's own engine. For ``container.factory``."""
    container = create_container(settings)
    container.override_providers(qdrant_client=providers.ThreadSafeSingleton(PgvectorClient, container.engine))
    return container
