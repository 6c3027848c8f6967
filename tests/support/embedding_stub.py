"""A small HTTP server with OpenAI's ``/v1/embeddings``, on a free port of the loopback."""

import hashlib
import json
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Answer:
    """A response instead of embeddings; ``hang_up`` closes the connection without one."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hang_up: bool = False


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]

    @property
    def texts(self) -> list[str]:
        return list(self.body["input"])


class EmbeddingStub:
    """Answers each text with numbers from its hash, with a norm far from 1, in reverse order.

    ``script`` holds answers to give first, one per request. ``judge`` sees each request after these
    and may return an answer. While ``hold`` isn't set, every request waits.
    """

    def __init__(self, dimension: int) -> None:
        self.dimension = dimension
        self.asked: list[Asked] = []
        self.script: deque[Answer] = deque()
        self.judge: Callable[[Asked], Answer | None] = lambda _asked: None
        self.hold = threading.Event()
        self.hold.set()
        self.base_url = ""

    def respond(self, asked: Asked) -> Answer:
        self.asked.append(asked)
        self.hold.wait(30)
        if self.script:
            return self.script.popleft()
        return self.judge(asked) or embeddings_answer([self.vector(text) for text in asked.texts])

    def vector(self, text: str) -> list[float]:
        digest = hashlib.shake_256(text.encode()).digest(self.dimension)
        return [byte - 127.25 for byte in digest]


def embeddings_answer(vectors: list[Any]) -> Answer:
    """A valid answer, last text first."""
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    body = {"object": "list", "data": data[::-1], "usage": {"prompt_tokens": 1, "total_tokens": 1}}
    return Answer(body=json.dumps(body).encode())


def error_answer(status: int, message: str, **headers: str) -> Answer:
    """An error in OpenAI's format."""
    body = json.dumps({"error": {"message": message, "type": "error", "code": None}}).encode()
    return Answer(status, body, {name.replace("_", "-"): value for name, value in headers.items()})


@contextmanager
def serving(dimension: int) -> Iterator[EmbeddingStub]:
    """Serve in separate threads until the end of the block."""
    stub = EmbeddingStub(dimension)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_for(stub))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    stub.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield stub
    finally:
        stub.hold.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler_for(stub: EmbeddingStub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else the body waits 40 ms for the acknowledgement of the head

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = stub.respond(Asked(self.path, dict(self.headers), body))
            self.close_connection = answer.hang_up
            if not answer.hang_up:
                self.send(answer)

        def send(self, answer: Answer) -> None:
            self.send_response(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            with suppress(ConnectionError):  # the client may have left
                self.end_headers()
                self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
            """Log nothing."""

    return Handler
