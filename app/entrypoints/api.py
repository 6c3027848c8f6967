"""The API's entry point: settings, container, run."""

from app.api.app import create_app
from app.api.parts import ApiOptions
from app.config import Settings
from app.domain.items import ItemLimits
from app.entrypoints.connections import ConnectionLimits
from app.entrypoints.factory import container_of
from app.entrypoints.finding import findable
from app.entrypoints.service import HttpServer, listen, open_service, run_service, run_to_the_end
from app.logs import configure_logging
from containers import Container

_AT_WORK_FOR_EACH_THREAD = 8
"""One request on the thread and seven that wait for it. Of 325 clients that come again at once, so many get 80 answers a
second between them; with 4 they got 19, because refusing took the time, and with 16 each waited 5 s and not 2."""


def serve(settings: Settings, *, workers: int, container: Container | None = None) -> None:
    """Serve the API, with that many workers inside, until a signal.

    ``container`` is one that was made from the same settings; None leaves it to
    ``container.factory``. It is opened and closed here.

    Raises:
        AgentStorageError: the settings or the stores don't let it work.
    """
    configure_logging(settings.logging.level)
    listening = listen(settings.api.host, settings.api.port)
    container = container or container_of(settings)
    with listening, open_service(container), findable(settings, listening):
        app = create_app(container, options_of(settings))
        server = HttpServer(
            app,
            listening,
            shutdown_s=settings.worker.shutdown_timeout,
            on_stop=app.state.stopping.set,
            limits=ConnectionLimits(keep_alive_s=settings.api.keep_alive),
        )
        run_to_the_end(run_service(container, workers=workers, server=server))


def options_of(settings: Settings) -> ApiOptions:
    """The plain values that the API takes from the settings."""
    api = settings.api
    return ApiOptions(
        host=api.host,
        root_path=api.root_path or "",
        cors_origins=api.cors_origins,
        api_keys=tuple(key.get_secret_value() for key in api.api_keys),
        text_fields=settings.embedding.text_fields,
        batch_size=settings.worker.batch_size,
        max_body_bytes=api.max_body_bytes,
        max_items=api.max_items,
        max_at_work=_AT_WORK_FOR_EACH_THREAD * settings.executor.max_workers,
        item_limits=ItemLimits(max_string_chars=api.max_string_chars, max_depth=api.max_json_depth),
    )
