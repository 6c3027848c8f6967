"""A producer that loses nothing: it retries until the service has accepted each batch."""

import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue

import httpx2

from support.service_client import ServiceClient, client_of, raw_item

BATCH = 20
_SENDERS = 4


class Producer:
    """Sends extractions from several threads. ``ids`` has the accepted ones, by number."""

    def __init__(self, url: str, count: int) -> None:
        self.ids: dict[int, str] = {}
        self.refused: list[str] = []
        """Responses other than 202 and 503; there must be none."""
        self.url = url
        self._batches: SimpleQueue[range] = SimpleQueue()
        self._allowed = threading.Semaphore(0)
        self._over = threading.Event()
        self._count = count
        for start in range(0, count, BATCH):
            self._batches.put(range(start, min(start + BATCH, count)))
        self._unsent = -(-count // BATCH)

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Send as much as is allowed, until the end of the block."""
        senders = [threading.Thread(target=self._send_all, name="sender") for _ in range(_SENDERS)]
        for sender in senders:
            sender.start()
        try:
            yield
        finally:
            self._over.set()
            for sender in senders:
                sender.join(timeout=60)

    def allow(self, share: float) -> None:
        """Allow sending another share of all extractions."""
        self._allowed.release(max(1, int(share * self._count / BATCH)))

    def finish(self, patience_s: float = 200.0) -> None:
        """Wait until all is accepted."""
        self._allowed.release(self._unsent)
        deadline = time.monotonic() + patience_s
        while len(self.ids) < self._count:
            assert not self.refused, self.refused[0]
            assert time.monotonic() < deadline, f"only {len(self.ids)} were accepted"
            time.sleep(0.02)

    def _send_all(self) -> None:
        with client_of(self.url) as client:
            while not self._over.is_set():
                if not self._allowed.acquire(timeout=0.1):
                    continue
                try:
                    batch = self._batches.get_nowait()
                except Empty:
                    return
                self._send(client, batch)

    def _send(self, client: ServiceClient, batch: Sequence[int]) -> None:
        while not self._over.is_set():
            try:
                answer = client.post([raw_item(number) for number in batch])
            except httpx2.TransportError:
                time.sleep(0.02)
                continue
            if answer.status_code == httpx2.codes.ACCEPTED:
                self.ids.update(zip(batch, [each["id"] for each in answer.json()["items"]], strict=True))
                return
            if answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE:
                self.refused.append(answer.text)
                return
            time.sleep(random.uniform(0.01, 0.1))  # noqa: S311 - a pause
