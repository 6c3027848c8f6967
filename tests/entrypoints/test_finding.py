"""What a service notes of itself."""

import socket

import pytest

from app.entrypoints.finding import url_of


@pytest.mark.parametrize(
    ("host", "family", "reached"),
    [
        ("127.0.0.1", socket.AF_INET, "127.0.0.1"),
        ("127.0.0.2", socket.AF_INET, "127.0.0.2"),
        ("0.0.0.0", socket.AF_INET, "127.0.0.1"),  # noqa: S104 - listening on all addresses is what is tested
        ("::1", socket.AF_INET6, "[::1]"),
        ("::", socket.AF_INET6, "[::1]"),
    ],
)
def test_a_service_on_all_addresses_is_reached_on_loopback(
    host: str, family: socket.AddressFamily, reached: str
) -> None:
    with socket.create_server((host, 0), family=family) as listening:
        assert url_of(listening) == f"http://{reached}:{listening.getsockname()[1]}"
