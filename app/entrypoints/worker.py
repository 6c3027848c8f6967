"""The worker's entry point: settings, container, run."""

from app.api.app import create_status_app
from app.config import Settings
from app.entrypoints.service import HttpServer, listen, open_service, run_service, run_to_the_end
from app.logs import configure_logging
from containers import create_container


def work(settings: Settings, *, workers: int) -> None:
    """Run that many workers until a signal, with /health and /metrics where ``worker.port`` says.

    Raises:
        AgentStorageError: the settings or the stores don't let it work.
    """
    configure_logging(settings.logging.level)
    port = settings.worker.port
    listening = None if port is None else listen(settings.worker.host, port)
    container = create_container(settings)
    with open_service(container):
        server = None
        if listening is not None:
            app = create_status_app(container, settings.api.keys())
            server = HttpServer(app, listening, shutdown_s=settings.worker.shutdown_timeout, on_stop=app.state.stop)
        run_to_the_end(run_service(container, workers=workers, server=server))
