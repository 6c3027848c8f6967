"""The composition root: every part, and what it is made of.

The only module that knows ``dependency_injector``. Resources (what must be closed) are generators with direct
edges to the resources they use, which gives the closing order; all else is a thread-safe singleton whose
constructor only stores what it is given.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from dependency_injector import containers, providers
from pydantic import SecretStr
from sqlalchemy import Engine

from app import schema
from app.config import Settings, load_settings
from app.database import Database, open_engine
from app.executor import BoundedExecutor, Lane
from app.postgres import TimeLimits
from app.retry import RetryPolicy
from app.services.embedding.connections import Connections
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.measured import MeasuredEmbedder
from app.services.embedding.openai import OpenAIEmbedder
from app.services.embedding.wordllama import WordllamaEmbedder
from app.services.extractions import ExtractionService
from app.services.health import Health
from app.services.indexing import IndexingService
from app.services.ingestion import IngestionService
from app.services.jobs.service import JobService
from app.services.metrics.collector import MetricsCollector
from app.services.metrics.dialects import DurationDialect, duration_dialect_for
from app.services.metrics.prometheus import MetricsExporter, PrometheusInstruments, new_registry
from app.services.projects import ProjectService
from app.services.reconciliation import ReconciliationService
from app.services.reindexing import ReindexingService
from app.services.search import SearchService
from app.services.storage.qdrant.clients import Mode, ServerOptions, VectorClient, open_client
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.wakeup import Wakeup
from app.worker.policy import WorkerPolicy
from app.worker.worker import Worker

logger = logging.getLogger(__name__)


def _closing(part: str, close: Callable[[], object]) -> None:
    """Close a part; a failure is logged, because it must not keep the other parts open."""
    try:
        close()
    except Exception:
        logger.exception("closing the %s failed", part)


def _engine(  # noqa: PLR0913, PLR0917 - each is a setting
    url: str,
    pool_size: int,
    max_overflow: int,
    pool_timeout: float,
    pool_recycle: float,
    statement_timeout: float,
    idle_in_transaction_timeout: float,
    prepared_statements: bool,
) -> Iterator[Engine]:
    engine = open_engine(
        url,
        pool_size=pool_size,
        max_overflow=max_overflow,
        pool_timeout_s=pool_timeout,
        pool_recycle_s=pool_recycle,
        limits=TimeLimits(statement_timeout, idle_in_transaction_timeout),
        prepared_statements=prepared_statements,
    )
    try:
        yield engine
    finally:
        _closing("engine", engine.dispose)


def _qdrant_client(mode: Mode, path: str, server: ServerOptions) -> Iterator[VectorClient]:
    client = open_client(mode, path=Path(path), server=server)
    try:
        yield client
    finally:
        _closing("Qdrant client", client.close)


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()


def _embedding_connections(api_key: SecretStr | None) -> Iterator[Connections]:
    connections = Connections(api_key)
    try:
        yield connections
    finally:
        _closing("embedding connections", connections.close)


def _executor(
    max_workers: int, shutdown_timeout: float, *_used_by_its_threads: object
) -> Iterator[BoundedExecutor]:
    executor = BoundedExecutor(max_workers)
    try:
        yield executor
    finally:
        _closing("executor", lambda: executor.close(shutdown_timeout))


def _lane(executor: BoundedExecutor, name: str, limit: int, max_waiting: int, wait_timeout: float) -> Lane:
    return executor.lane(name, limit=limit, max_waiting=max_waiting, wait_timeout_s=wait_timeout)


def _duration_dialect(engine: Engine) -> DurationDialect:
    return duration_dialect_for(engine.dialect.name)


def _is_exclusive(mode: Mode, database_url: str) -> bool:
    """Whether no other process can be running index jobs on these stores."""
    return mode == "embedded" and database_url.startswith("sqlite")


class Container(containers.DeclarativeContainer):
    """All parts. Make one with :func:`create_container` and open it with :func:`running`."""

    config = providers.Configuration(strict=True)

    engine = providers.Resource(
        _engine,
        url=config.database.url,
        pool_size=config.database.pool_size,
        max_overflow=config.database.max_overflow,
        pool_timeout=config.database.pool_timeout,
        pool_recycle=config.database.pool_recycle,
        statement_timeout=config.database.statement_timeout,
        idle_in_transaction_timeout=config.database.idle_in_transaction_timeout,
        prepared_statements=config.database.prepared_statements,
    )
    qdrant_client = providers.Resource(
        _qdrant_client,
        mode=config.qdrant.mode,
        path=config.qdrant.path,
        server=providers.Factory(
            ServerOptions,
            url=config.qdrant.url,
            api_key=providers.Callable(_revealed, config.qdrant.api_key),
            timeout_s=config.qdrant.timeout,
            connections=config.executor.qdrant_limit,
            prefer_grpc=config.qdrant.prefer_grpc,
            grpc_port=config.qdrant.grpc_port,
            ca_file=config.qdrant.ca_file,
            cert_file=config.qdrant.cert_file,
            key_file=config.qdrant.key_file,
            shard_number=config.qdrant.shard_number,
            replication_factor=config.qdrant.replication_factor,
            write_consistency_factor=config.qdrant.write_consistency_factor,
        ),
    )
    embedding_connections = providers.Resource(_embedding_connections, config.embedding.api_key)
    # Opened last and closed first: its threads use the others.
    executor = providers.Resource(
        _executor,
        config.executor.max_workers,
        config.executor.shutdown_timeout,
        engine,
        qdrant_client,
        embedding_connections,
    )

    database_lane = providers.ThreadSafeSingleton(
        _lane,
        executor,
        "database",
        limit=config.executor.database_limit,
        max_waiting=config.executor.max_waiting,
        wait_timeout=config.database.pool_timeout,
    )
    qdrant_lane = providers.ThreadSafeSingleton(
        _lane,
        executor,
        "qdrant",
        limit=config.executor.qdrant_limit,
        max_waiting=config.executor.max_waiting,
        wait_timeout=config.qdrant.retry_timeout,
    )
    embedding_lane = providers.ThreadSafeSingleton(
        _lane,
        executor,
        "embedding",
        limit=config.executor.embedding_limit,
        max_waiting=config.executor.max_waiting,
        wait_timeout=config.embedding.retry_timeout,
    )
    files_lane = providers.ThreadSafeSingleton(
        _lane,
        executor,
        "files",
        limit=config.executor.files_limit,
        max_waiting=config.executor.max_waiting,
        wait_timeout=config.database.pool_timeout,
    )

    metrics_registry = providers.ThreadSafeSingleton(new_registry)
    instruments = providers.ThreadSafeSingleton(PrometheusInstruments, metrics_registry)

    database = providers.ThreadSafeSingleton(Database, engine, database_lane)

    embedder = providers.Selector(
        config.embedding["provider"],  # the attribute `provider` is the option itself
        wordllama=providers.ThreadSafeSingleton(
            WordllamaEmbedder, embedding_lane, batch_size=config.embedding.batch_size
        ),
        openai=providers.ThreadSafeSingleton(
            OpenAIEmbedder,
            embedding_lane,
            embedding_connections,
            model=config.embedding.model,
            base_url=config.embedding.base_url,
            dimension=config.embedding.dimension,
            batch_size=config.embedding.batch_size,
            timeout_s=config.embedding.timeout,
            retry_timeout_s=config.embedding.retry_timeout,
        ),
        deterministic=providers.ThreadSafeSingleton(
            DeterministicEmbedder, embedding_lane, dimension=config.embedding.dimension
        ),
    )

    measured_embedder = providers.ThreadSafeSingleton(MeasuredEmbedder, embedder, instruments)

    qdrant_repository = providers.ThreadSafeSingleton(
        QdrantRepository,
        qdrant_client,
        qdrant_lane,
        dimension=embedder.provided.identity.dimension,
        retry=providers.Factory(RetryPolicy, config.qdrant.retry_timeout),
        instruments=instruments,
    )

    duration_dialect = providers.ThreadSafeSingleton(_duration_dialect, engine)
    metrics_collector = providers.ThreadSafeSingleton(
        MetricsCollector, database, duration_dialect, executor=executor
    )
    metrics_exporter = providers.ThreadSafeSingleton(
        MetricsExporter, metrics_collector, metrics_registry, files_lane
    )

    wakeup = providers.ThreadSafeSingleton(Wakeup)

    ingestion = providers.ThreadSafeSingleton(IngestionService, database, wakeup)
    extractions = providers.ThreadSafeSingleton(ExtractionService, database, wakeup)
    projects = providers.ThreadSafeSingleton(ProjectService, database, wakeup)
    jobs = providers.ThreadSafeSingleton(JobService, database, wakeup)
    indexing = providers.ThreadSafeSingleton(
        IndexingService,
        database,
        qdrant_repository,
        measured_embedder,
        text_fields=config.embedding.text_fields,
        batch_size=config.worker.batch_size,
    )
    reindexing = providers.ThreadSafeSingleton(
        ReindexingService,
        database,
        qdrant_repository,
        measured_embedder,
        indexing,
        batch_size=config.worker.batch_size,
    )
    search = providers.ThreadSafeSingleton(SearchService, database, qdrant_repository, measured_embedder)
    reconciliation = providers.ThreadSafeSingleton(
        ReconciliationService, database, qdrant_repository, indexing, batch_size=config.worker.batch_size
    )
    health = providers.ThreadSafeSingleton(
        Health,
        providers.Dict(
            database=database.provided.ping,
            qdrant=qdrant_repository.provided.ping,
            embedder=embedder.provided.ping,
            executor=files_lane.provided.ping,
        ),
    )

    handlers = providers.Dict(
        embed=indexing.provided.embed,
        delete_vectors=indexing.provided.delete_vectors,
        verify=reconciliation.provided.verify,
        repair=reconciliation.provided.repair,
    )
    worker_policy = providers.ThreadSafeSingleton(
        WorkerPolicy,
        concurrency=config.worker.concurrency,
        lease_s=config.worker.lease_timeout,
        poll_s=config.worker.poll_interval,
        shutdown_s=config.worker.shutdown_timeout,
        max_attempts=config.worker.max_attempts,
        retry_delay_s=config.worker.retry_delay,
        max_retry_delay_s=config.worker.max_retry_delay,
        time_limit_s=config.worker.time_limit,
        time_limits_s=config.worker.time_limits,
        keep_finished_s=config.worker.keep_finished,
    )
    # A factory, because several may run in one process, each with its own jobs.
    worker = providers.Factory(
        Worker,
        database,
        database_lane,
        handlers,
        wakeup,
        instruments,
        worker_policy,
        exclusive=providers.Callable(_is_exclusive, config.qdrant.mode, config.database.url),
        listening=config.database.prepared_statements,
    )


def create_container(settings: Settings | None = None, **replacements: object) -> Container:
    """A new container, filled from the settings (read from file and environment when None). Opens nothing.

    ``replacements`` are providers or finished parts by provider name, such as ``embedder=fake``; every
    consumer in this container gets them, and no other container does.

    Raises:
        ConfigurationError: the settings can't be used.
        AttributeError: there is no provider of that name.
    """
    unknown = replacements.keys() - Container.providers.keys()
    if unknown:
        raise AttributeError(f"the container has no provider {min(unknown)!r}")
    container = Container(
        **{
            name: part if isinstance(part, providers.Provider) else providers.Object(part)
            for name, part in replacements.items()
        }
    )
    container.config.from_dict((settings or load_settings()).for_container())
    return container


@contextmanager
def running(container: Container, *, migrate: bool | None = None, check: bool = True) -> Iterator[Container]:
    """Open every resource on this thread, hand out the container, and close all in reverse order.

    The database's schema is brought up to date first where ``migrate`` says so (by default on SQLite), and
    otherwise checked; ``check=False`` leaves that to a caller who waits for the database. A part that fails to
    open or to close leaves none of the others open.

    Raises:
        SchemaMismatch: the schema isn't the one this version works with.
        DataDirectoryLocked: another process uses the embedded engine's directory.
    """
    try:
        container.init_resources()
        engine = container.engine()
        container.duration_dialect()  # refuses a dialect without a strategy now, not at the first scrape
        if engine.dialect.name == "sqlite" if migrate is None else migrate:
            schema.upgrade(engine)
        elif check:
            schema.check(engine)
        yield container
    finally:
        _close_all(container)


def _close_all(container: Container) -> None:
    """Close the resources, going on after a failure until none is left open."""
    for _ in range(len(container.providers)):
        try:
            container.shutdown_resources()
        except Exception:
            logger.exception("closing a part failed")
        else:
            return
