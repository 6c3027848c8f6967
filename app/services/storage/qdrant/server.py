"""How a Qdrant server is connected to: over HTTP or gRPC, with TLS or without."""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
from qdrant_client import QdrantClient

from app.errors import ConfigurationError, Problem
from app.services.storage.qdrant.adapter import QdrantClientAdapter
from app.settings.masking import MASK
from app.settings.sections import QdrantSettings

_IDLE_S = 30.0
_ONE_CONNECTION = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE_S)
_BATCH_SIZE = 256


def server_client(settings: QdrantSettings, connections: int) -> QdrantClientAdapter:
    """A client with at most ``connections`` connections, opened when needed.

    Raises:
        ConfigurationError: a PEM file or the API key can't be used.
    """
    api_key = None if settings.api_key is None else settings.api_key.get_secret_value()
    _check_api_key(api_key)
    cluster = {
        "shard_number": settings.shard_number,
        "replication_factor": settings.replication_factor,
        "write_consistency_factor": settings.write_consistency_factor,
    }
    return QdrantClientAdapter(
        _connecting(settings, api_key),
        settings.collection,
        size=connections,
        batch_size=_BATCH_SIZE,
        cluster={name: value for name, value in cluster.items() if value is not None},
    )


def _connecting(settings: QdrantSettings, api_key: str | None) -> Callable[[], QdrantClient]:
    # One for all: every client would make its own, https or not.
    tls = _tls(settings)
    channel = _channel_options(settings)

    def connect() -> QdrantClient:
        transport: dict[str, Any] = {"limits": _ONE_CONNECTION}
        if settings.prefer_grpc:
            # A copy, because the client adds to it. The pool's size is that of its channels.
            transport = {"grpc_options": dict(channel), "pool_size": 1}
        return QdrantClient(
            url=settings.url,
            grpc_port=settings.grpc_port,
            prefer_grpc=settings.prefer_grpc,
            api_key=api_key,
            timeout=settings.timeout,
            check_compatibility=False,
            verify=tls,
            **transport,
        )

    return connect


def _channel_options(settings: QdrantSettings) -> dict[str, Any]:
    """A connection for each channel, closed as early as HTTP's; messages of any size are the client's default."""
    channel: dict[str, Any] = {
        "grpc.use_local_subchannel_pool": 1,
        "grpc.client_idle_timeout_ms": int(_IDLE_S * 1000),
    }
    for name, file in (
        ("root_certificates", settings.ca_file),
        ("certificate_chain", settings.cert_file),
        ("private_key", settings.key_file),
    ):
        if file is not None:
            channel[name] = Path(file).read_bytes()
    return channel


# --- TLS -------------------------------------------------------------------------------------------------


def _tls(settings: QdrantSettings) -> ssl.SSLContext:
    """Of the files in the settings, all of which can be used; else the libraries' own authorities are trusted."""
    for name in ("ca_file", "cert_file", "key_file"):
        _check_readable(f"qdrant.{name}", getattr(settings, name))
    if settings.ca_file is not None:
        tls = _trusting(settings.ca_file)
    elif (settings.url or "").startswith("https:"):
        tls = httpx.create_ssl_context()
    else:  # it isn't used, and loading the authorities takes longer than the rest of connecting
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if settings.cert_file is not None and settings.key_file is not None:
        _present(tls, settings.cert_file, settings.key_file)
    return tls


def _check_readable(setting: str, file: str | None) -> None:
    if file is None:
        return
    try:
        Path(file).read_bytes()
    except OSError as error:
        raise _unusable(setting, file, f"can't be read: {error.strerror}") from error


def _trusting(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=ca_file)
    except ssl.SSLError as error:
        raise _unusable("qdrant.ca_file", ca_file, "must hold certificates in PEM") from error


def _present(tls: ssl.SSLContext, cert_file: str, key_file: str) -> None:
    try:
        # With a password, or OpenSSL would ask the terminal for that of an encrypted key.
        tls.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        allowed = (
            f"must hold a certificate in PEM, and qdrant.key_file ({key_file}) its key, without a password"
        )
        raise _unusable("qdrant.cert_file", cert_file, allowed) from error


def _check_api_key(api_key: str | None) -> None:
    # As a header it would fail with an error that quotes it.
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise _unusable("qdrant.api_key", MASK, "must be ASCII characters that print")


def _unusable(setting: str, value: str, allowed: str) -> ConfigurationError:
    return ConfigurationError([Problem(setting, value, allowed)])
