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
"""One request on the thread and seven waiting for it.

With 325 clients that retry at once, 8 gives 80 answers a second, and 4 gives 19, because refusals
take the time. With 16, each request waits 5 s instead of 2 s.
"""


def serve(settings: Settings, *, workers: int, container: Container | None = None) -> None:
    """Serve the API until a signal, with ``workers`` workers in the same process.

    ``container`` must be made from the same settings; None makes one by ``container.factory``. It
    is opened and closed here.

    Raises:
        AgentStorageError: the service can't run with these settings or stores.
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
