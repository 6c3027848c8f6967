"""The service behind nginx as documented: links lead back, and events pass without delay."""

import threading
import time
from pathlib import Path
from typing import Any

import httpx2
import pytest
from support.nginx import needs_nginx, running_nginx
from support.processes import serve_process
from support.service_client import raw_item

pytestmark = [pytest.mark.slow, needs_nginx]

EVENTS = 3
APART_S = 1.5


def test_links_and_events_pass_through_nginx(tmp_path: Path) -> None:
    with (
        serve_process(tmp_path, {"API_ROOT_PATH": "/storage"}) as service,
        running_nginx(tmp_path, service.url) as nginx,
        httpx2.Client(base_url=f"{nginx}/storage", timeout=30, trust_env=False) as client,
    ):
        assert client.head("/health/live").status_code == 200
        page = client.get("/docs").text
        for path in (
            "/storage/docs/swagger-ui-bundle.js",
            "/storage/docs/swagger-ui.css",
            "/storage/openapi.json",
        ):
            assert path in page
            assert client.get(path.removeprefix("/storage")).status_code == 200

        def hand_in(number: int) -> Any:
            body = {"extractions": [raw_item(number)]}
            return client.post("/v1/projects/papers/extractions", json=body).raise_for_status()

        hand_in(0)
        sent = list[float]()

        def hand_in_later() -> None:
            for number in range(1, EVENTS + 1):
                time.sleep(APART_S)
                sent.append(time.monotonic())
                hand_in(number)

        sending = threading.Thread(target=hand_in_later)
        headers = {"accept": "text/event-stream"}
        came = list[float]()
        with client.stream("GET", "/v1/projects/papers/changes", headers=headers) as stream:
            sending.start()
            for line in stream.iter_lines():
                came += [time.monotonic()] if line.startswith("data") else []
                if len(came) > EVENTS:
                    break
        sending.join()
    # The second comes before the third is sent: none waits for a buffer to be full.
    assert came[1] < sent[2]
