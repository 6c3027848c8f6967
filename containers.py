"""The composition root: all components and their dependencies.

It is the only module that imports ``dependency_injector``. Components that must be closed are
resources: generators that depend directly on the resources they use, which determines the closing
order. Everything else is a thread-safe singleton whose constructor only stores its arguments. The
graph is in one module, because it is read as a whole: what uses what, and what is closed first.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import ClassVar, Self, cast

from dependency_injector import containers, providers
from pydantic import SecretStr
from sqlalchemy import Engine

from app.config import Settings, load_settings, settings_from
from app.database import Database, open_engine
from app.domain.text import TextRules
from app.executor import BoundedExecutor, Lane
from app.retry import RetryPolicy
from app.services.backup.service import BackupService
from app.services.changes import ChangeService
from app.services.data_indexes import DataIndexing
from app.services.embedding.choices import EmbedderChoices
from app.services.embedding.comparison import EmbedderComparison
from app.services.embedding.connections import Connections
from app.services.embedding.deterministic import DeterministicEmbedder
from app.services.embedding.measured import MeasuredEmbedder
from app.services.embedding.model2vec import Model2VecEmbedder
from app.services.embedding.multilingual import MultilingualEmbedder
from app.services.embedding.openai import OpenAIEmbedder
from app.services.embedding.wordllama import WordllamaEmbedder
from app.services.export.service import ExportService
from app.services.extractions import ExtractionService
from app.services.fields import FieldService
from app.services.health import Health
from app.services.index_use import IndexOwnership
from app.services.indexing import IndexingService
from app.services.ingestion import IngestionService
from app.services.jobs.service import JobService
from app.services.language_watch import LanguageWatch
from app.services.meaning_search import MeaningSearch
from app.services.metrics.collector import MetricsCollector
from app.services.metrics.dialects import DurationDialect, duration_dialect_for
from app.services.metrics.prometheus import MetricsExporter, PrometheusInstruments, new_registry
from app.services.projects import ProjectService
from app.services.reconciliation import ReconciliationService
from app.services.reindexing import ReindexingService
from app.services.replacements import REPLACEABLE, checked_replacement, require_members
from app.services.runs import RunService
from app.services.search import SearchService
from app.services.sources import SourceService
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import VectorClient
from app.services.storage.qdrant.repository import QdrantRepository
from app.services.wakeup import Wakeup
from app.services.words.indexing import WordIndexing
from app.services.words.searching import WordSearch
from app.settings.lanes import LaneLimits, LaneName, lane_limits_of, qdrant_limit
from app.settings.sections import (
    DatabaseSettings,
    ExecutorSettings,
    QdrantSettings,
)
from app.sql import schema
from app.worker.worker import Worker

logger = logging.getLogger(__name__)


def _closing(part: str, close: Callable[[], object]) -> None:
    """Close a component; log a failure, so that the other components are closed too."""
    try:
        close()
    except Exception:
        logger.exception("closing the %s failed", part)


def _engine(settings: DatabaseSettings) -> Iterator[Engine]:
    engine = open_engine(settings)
    try:
        yield engine
    finally:
        _closing("engine", engine.dispose)


def _qdrant_client(settings: QdrantSettings, limits: LaneLimits) -> Iterator[VectorClient]:
    client = open_vector_client(settings, connections=limits["qdrant"])
    try:
        yield client
    finally:
        _closing("Qdrant client", client.close)


def _embedding_connections(api_key: SecretStr | None) -> Iterator[Connections]:
    connections = Connections(api_key)
    try:
        yield connections
    finally:
        _closing("embedding connections", connections.close)


def _executor(settings: ExecutorSettings, *_used_by_its_threads: object) -> Iterator[BoundedExecutor]:
    executor = BoundedExecutor(settings.max_workers)
    try:
        yield executor
    finally:
        _closing("executor", lambda: executor.close(settings.shutdown_timeout))


def _lane(
    executor: BoundedExecutor,
    limits: LaneLimits,
    settings: ExecutorSettings,
    name: LaneName,
    wait_timeout_s: float,
) -> Lane:
    # Components from before `reset_singletons` keep using the lane, so later ones share it.
    return executor.find_lane(name) or executor.lane(
        name, limit=limits[name], max_waiting=settings.max_waiting, wait_timeout_s=wait_timeout_s
    )


def _qdrant_lane(
    executor: BoundedExecutor,
    limits: LaneLimits,
    settings: ExecutorSettings,
    wait_timeout_s: float,
    client: VectorClient,
) -> Lane:
    own: LaneLimits = {**limits, "qdrant": qdrant_limit(client.max_calls, settings, limits)}
    return _lane(executor, own, settings, "qdrant", wait_timeout_s)


def _duration_dialect(engine: Engine) -> DurationDialect:
    return duration_dialect_for(engine.dialect.name)


def _seconds_of_days(days: float) -> float:
    return days * 86_400


def _is_exclusive(qdrant: QdrantSettings, database: DatabaseSettings) -> bool:
    """Whether no other process can run index jobs on these stores."""
    # If one can, expiring its leases runs its jobs twice: docs/decisions/exclusive.md
    return qdrant.mode == "embedded" and database.url.startswith("sqlite")


class Container(containers.DeclarativeContainer):
    """All components. :func:`create_container` makes a container, :func:`running` opens it."""

    _written: ClassVar[dict[str, object]]
    """The providers in a subclass's body, without those that ``@containers.copy`` adds."""

    def __init_subclass__(cls) -> None:
        cls._written = {name: it for name, it in vars(cls).items() if isinstance(it, providers.Provider)}

    def __new__(cls, **replacements: object) -> Self:
        """Make a container; inherited consumers get the providers of a subclass.

        Without this, dependency_injector (4.49.1) gives them the inherited provider, or with
        ``@containers.copy`` a second instance of the subclass's.
        """
        if cls is Container:
            return super().__new__(cls, **replacements)
        parent = cast("type[Self]", cls.__base__)
        container = parent()
        is_copy = cls.cls_providers.keys() >= parent.providers.keys()
        own = cls._written if is_copy else cls.cls_providers
        kept = {
            id(provider): container.providers[name]
            for name, provider in parent.providers.items()
            if name not in own
        }
        for name, provider in providers.deepcopy(own, kept).items():
            if name in parent.providers:
                container.providers[name].override(provider)
            else:
                container.set_provider(name, provider)
        container.override_providers(**replacements)
        return container

    config = providers.Configuration(strict=True)

    settings = providers.ThreadSafeSingleton(settings_from, config)  # validates `config`
    # A component that needs many settings takes its whole section.
    database_settings = settings.provided.database
    qdrant_settings = settings.provided.qdrant
    executor_settings = settings.provided.executor
    embedding_settings = settings.provided.embedding
    worker_settings = settings.provided.worker
    retention_settings = settings.provided.retention
    lane_limits = providers.ThreadSafeSingleton(
        lane_limits_of, executor_settings, database_settings, qdrant_settings
    )

    engine = providers.Resource(_engine, database_settings)
    qdrant_client = providers.Resource(_qdrant_client, qdrant_settings, lane_limits)
    embedding_connections = providers.Resource(_embedding_connections, embedding_settings.api_key)
    # Opened last and closed first: its threads use the others.
    executor = providers.Resource(_executor, executor_settings, engine, qdrant_client, embedding_connections)

    database_lane = providers.ThreadSafeSingleton(
        _lane, executor, lane_limits, executor_settings, "database", database_settings.pool_timeout
    )
    qdrant_lane = providers.ThreadSafeSingleton(
        _qdrant_lane, executor, lane_limits, executor_settings, qdrant_settings.retry_timeout, qdrant_client
    )
    embedding_lane = providers.ThreadSafeSingleton(
        _lane, executor, lane_limits, executor_settings, "embedding", embedding_settings.retry_timeout
    )
    files_lane = providers.ThreadSafeSingleton(
        _lane, executor, lane_limits, executor_settings, "files", database_settings.pool_timeout
    )

    metrics_registry = providers.ThreadSafeSingleton(new_registry)
    instruments = providers.ThreadSafeSingleton(PrometheusInstruments, metrics_registry)

    database = providers.ThreadSafeSingleton(Database, engine, database_lane)

    embedder = providers.Selector(
        providers.Callable(attrgetter("embedding.provider"), settings),
        wordllama=providers.ThreadSafeSingleton(
            WordllamaEmbedder, embedding_lane, batch_size=embedding_settings.batch_size
        ),
        multilingual=providers.ThreadSafeSingleton(MultilingualEmbedder, embedding_lane),
        model2vec=providers.ThreadSafeSingleton(
            Model2VecEmbedder,
            embedding_lane,
            embedding_settings.path,
            batch_size=embedding_settings.batch_size,
            dimension=embedding_settings.dimension,
        ),
        openai=providers.ThreadSafeSingleton(
            OpenAIEmbedder, embedding_lane, embedding_connections, embedding_settings
        ),
        deterministic=providers.ThreadSafeSingleton(
            DeterministicEmbedder, embedding_lane, dimension=embedding_settings.dimension
        ),
    )

    embedder_choices = providers.ThreadSafeSingleton(
        EmbedderChoices, embedding_lane, embedding_connections, embedding_settings
    )
    embedder_comparison = providers.ThreadSafeSingleton(EmbedderComparison, embedding_lane)

    measured_embedder = providers.ThreadSafeSingleton(MeasuredEmbedder, embedder, instruments)

    qdrant_repository = providers.ThreadSafeSingleton(
        QdrantRepository,
        qdrant_client,
        qdrant_lane,
        dimension=embedder.provided.identity.dimension,
        collection=qdrant_settings.collection,
        retry=providers.Factory(RetryPolicy, qdrant_settings.retry_timeout),
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

    text_rules = providers.ThreadSafeSingleton(
        TextRules,
        fields=embedding_settings.text_fields,
        take=embedding_settings.take_fields,
        leave=embedding_settings.leave_fields,
    )
    language_watch = providers.ThreadSafeSingleton(LanguageWatch, embedder, files_lane, text_rules, instruments)
    ingestion = providers.ThreadSafeSingleton(IngestionService, database, wakeup, instruments, language_watch)
    extractions = providers.ThreadSafeSingleton(ExtractionService, database, wakeup, instruments)
    fields = providers.ThreadSafeSingleton(FieldService, database)
    export = providers.ThreadSafeSingleton(ExportService, database)
    projects = providers.ThreadSafeSingleton(ProjectService, database, wakeup)
    sources = providers.ThreadSafeSingleton(SourceService, database, wakeup, instruments)
    runs = providers.ThreadSafeSingleton(RunService, database, wakeup, instruments)
    changes = providers.ThreadSafeSingleton(ChangeService, database)
    jobs = providers.ThreadSafeSingleton(JobService, database, wakeup)
    backups = providers.ThreadSafeSingleton(BackupService, database, files_lane)
    indexing = providers.ThreadSafeSingleton(
        IndexingService,
        database,
        qdrant_repository,
        measured_embedder,
        text_rules=text_rules,
        batch_size=worker_settings.batch_size,
        max_chars=embedding_settings.max_chars,
        instruments=instruments,
    )
    ownership = providers.ThreadSafeSingleton(IndexOwnership, database, qdrant_repository)
    reindexing = providers.ThreadSafeSingleton(
        ReindexingService,
        database,
        qdrant_repository,
        measured_embedder,
        indexing,
        text_rules=text_rules,
    )
    meaning_search = providers.ThreadSafeSingleton(
        MeaningSearch, database, qdrant_repository, measured_embedder, text_rules=text_rules
    )
    word_indexing = providers.ThreadSafeSingleton(WordIndexing, database)
    data_indexing = providers.ThreadSafeSingleton(DataIndexing, database, paths=database_settings.data_indexes)
    word_search = providers.ThreadSafeSingleton(WordSearch)
    search = providers.ThreadSafeSingleton(SearchService, database, meaning_search, word_search)
    reconciliation = providers.ThreadSafeSingleton(
        ReconciliationService, database, qdrant_repository, indexing, batch_size=worker_settings.batch_size
    )
    health = providers.ThreadSafeSingleton(
        Health,
        providers.Dict(
            database=database.provided.ping,
            qdrant=qdrant_repository.provided.ping,
            index=indexing.provided.ping,
            embedder=embedder.provided.ping,
            executor=files_lane.provided.ping,
        ),
    )

    handlers = providers.Dict(
        embed=indexing.provided.embed,
        delete_vectors=indexing.provided.delete_vectors,
        update_payload=indexing.provided.update_payload,
        verify=reconciliation.provided.verify,
        repair=reconciliation.provided.repair,
        reindex=reindexing.provided.reindex,
        index_words=word_indexing.provided.index_words,
        index_data=data_indexing.provided.index_data,
    )
    # A factory, because several may run in one process, each with its own jobs.
    worker = providers.Factory(
        Worker,
        database,
        database_lane,
        handlers,
        wakeup,
        instruments,
        worker_settings,
        keep_history_s=providers.Callable(_seconds_of_days, retention_settings.history),
        exclusive=providers.Callable(_is_exclusive, qdrant_settings, database_settings),
        listening=database_settings.prepared_statements,
    )


def create_container(settings: Settings | None = None, **replacements: object) -> Container:
    """Create a container from the settings (read from file and environment if None); open nothing.

    ``replacements`` are providers or instances by provider name, such as ``embedder=fake``; a plain
    ``QdrantClient`` is adapted. They replace the provider for every consumer in this container, and
    in no other.

    Raises:
        ConfigurationError: the settings can't be used.
        AttributeError: there is no provider with that name.
        UnfitPart: an instance lacks members of the provider's protocol, or is a class.
    """
    unknown = replacements.keys() - Container.providers.keys()
    if unknown:
        raise AttributeError(f"the container has no provider {min(unknown)!r}")
    settings = settings or load_settings()
    container = Container()
    for name, part in replacements.items():
        if not isinstance(part, providers.Provider):
            part = providers.Object(checked_replacement(name, part, settings.qdrant.collection))  # noqa: PLW2901 - the provider replaces it
        container.providers[name].override(part)
    container.config.from_dict(settings.for_container())
    return container


@contextmanager
def running(container: Container, *, migrate: bool | None = None, check: bool = True) -> Iterator[Container]:
    """Open all resources on this thread, yield the container, and close them in reverse order.

    The same container can be run again: its components are created again, except replacements.

    If ``migrate`` is true (the default on SQLite), the database's schema is upgraded first;
    otherwise it is checked. With ``check=False`` it isn't, for callers that wait for the database.
    If a component fails to open or close, all others are closed.

    Raises:
        SchemaMismatch: the schema isn't the one that this version works with.
        DataDirectoryLocked: another process uses the embedded engine's directory.
        UnfitPart: a part that overrides the container's lacks members of its protocol.
    """
    try:
        container.init_resources()
        _check_overrides(container)
        engine = container.engine()
        container.duration_dialect()  # fails here, not at the first scrape, if the dialect has none
        if engine.dialect.name == "sqlite" if migrate is None else migrate:
            schema.upgrade(engine)
        elif check:
            schema.check(engine)
        yield container
    finally:
        _close_all(container)
        container.reset_singletons()  # they hold closed resources


def _check_overrides(container: Container) -> None:
    """Check the parts of overriding providers, which `create_container` can't look at."""
    if container.qdrant_client() is None:  # a command without the index makes no embedder
        return
    for name in REPLACEABLE:
        if container.providers[name].overridden:
            require_members(name, container.providers[name]())


def _close_all(container: Container) -> None:
    """Close the resources, and continue after a failure until all are closed."""
    for _ in range(len(container.providers)):
        try:
            container.shutdown_resources()
        except Exception:
            logger.exception("closing a part failed")
        else:
            return
