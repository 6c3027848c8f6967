"""The worker's entry point: settings, container, run."""

from contextlib import ExitStack

from app.config import Settings
from app.entrypoints.factory import container_of
from app.entrypoints.service import HttpServer, listen, open_service, run_service, run_to_the_end
from app.logs import configure_logging
from containers import Container


def work(settings: Settings, *, workers: int, container: Container | None = None) -> None:
    """Run workers until a signal, with /health and /metrics on ``worker.port`` if it is set.

    ``container`` must be made from the same settings; None makes one by ``container.factory``. It
    is opened and closed here.

    Raises:
        AgentStorageError: the workers can't run with these settings or stores.
    """
    configure_logging(settings.logging.level)
    container = container or container_of(settings)
    with ExitStack() as stack:
        server = None
        if settings.worker.port is not None:
            server = _status_server(stack, settings, container, settings.worker.port)
        stack.enter_context(open_service(container))
        run_to_the_end(run_service(container, workers=workers, server=server))


def _status_server(stack: ExitStack, settings: Settings, container: Container, port: int) -> HttpServer:
    from app.api.app import create_status_app
    from app.entrypoints.api import options_of

    listening = stack.enter_context(listen(settings.worker.host, port))
    app = create_status_app(container, options_of(settings))
    return HttpServer(
        app, listening, shutdown_s=settings.worker.shutdown_timeout, on_stop=app.state.stopping.set
    )
