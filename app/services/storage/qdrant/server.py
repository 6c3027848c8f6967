"""Connect to a Qdrant server: over HTTP or gRPC, with or without TLS."""

import socket
import ssl
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
from grpc import RpcError, StatusCode
from qdrant_client import QdrantClient
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from app.errors import ConfigurationError, Problem
from app.services.storage.qdrant.adapter import Connection, QdrantClientAdapter
from app.services.storage.qdrant.point_calls import CallsByGrpc, CallsByHttp
from app.settings.masking import MASK
from app.settings.sections import QdrantSettings

_IDLE_S = 30.0
_ONE_CONNECTION = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE_S)
_BATCH_SIZE = 256
_TRIAL_S = 2
"""How long to wait for gRPC before HTTP is used. The client takes only whole seconds."""
_REFUSED = frozenset({StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED})


def server_client(settings: QdrantSettings, connections: int) -> QdrantClientAdapter:
    """Create a client with at most ``connections`` connections, opened when needed.

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
        _Connecting(settings, api_key),
        settings.collection,
        size=connections,
        batch_size=_BATCH_SIZE,
        cluster={name: value for name, value in cluster.items() if value is not None},
    )


class _Connecting:
    """Opens connections with the protocol in the settings; without one, with gRPC if it answers."""

    def __init__(self, settings: QdrantSettings, api_key: str | None) -> None:
        self._settings = settings
        self._api_key = api_key
        # Shared: otherwise every client creates its own, even without https.
        self._tls = _tls(settings)
        self._channel = _channel_options(settings)
        self._by_http = CallsByHttp(settings.collection)
        self._by_grpc = CallsByGrpc(settings.collection, settings.timeout)
        self._choosing = threading.Lock()
        self._grpc = settings.prefer_grpc
        if self._grpc is None and not _may_have_grpc(settings):
            self._grpc = False

    def __call__(self) -> Connection:
        if self._grpc is None:
            return self._tried()
        return self._over_grpc() if self._grpc else self._over_http()

    def _tried(self) -> Connection:
        """Connect over gRPC if it answers, else over HTTP, and remember which one answered.

        If neither answers, the next connection tries both again.
        """
        with self._choosing:
            if self._grpc is None:
                over_grpc = self._over_grpc(timeout_s=min(_TRIAL_S, self._settings.timeout))
                with closing(over_grpc.client):
                    if _answers(over_grpc.client, self._settings.collection):
                        self._grpc = True
            if self._grpc is None:
                over_http = self._over_http()
                if _answers(over_http.client, self._settings.collection):
                    self._grpc = False
                return over_http
        return self()

    def _over_http(self) -> Connection:
        client = self._client(
            prefer_grpc=False, limits=_ONE_CONNECTION, event_hooks={"response": [_acknowledge_at_once]}
        )
        return Connection(client, self._by_http)

    def _over_grpc(self, timeout_s: int | None = None) -> Connection:
        # A copy, because the client adds to it. `pool_size` is the number of channels.
        client = self._client(
            prefer_grpc=True, timeout_s=timeout_s, grpc_options=dict(self._channel), pool_size=1
        )
        return Connection(client, self._by_grpc)

    def _client(self, *, timeout_s: int | None = None, **transport: Any) -> QdrantClient:  # noqa: ANN401 - the client's
        return QdrantClient(
            url=self._settings.url,
            grpc_port=self._settings.grpc_port,
            api_key=self._api_key,
            timeout=timeout_s or self._settings.timeout,
            check_compatibility=False,
            verify=self._tls,
            **transport,
        )


def _acknowledge_at_once(response: httpx.Response) -> None:
    """Let the kernel acknowledge what has arrived of an answer, before its body is read.

    Qdrant keeps Nagle's algorithm: the last segment of a long answer waits until the ones before
    are acknowledged, which Linux delays by 40 ms on a connection that was used before. A page of
    1,000 points took 48 ms instead of 6. The option holds for one answer. Without it, as where a
    sandbox's kernel refuses it, answers are only slower.
    """
    if hasattr(socket, "TCP_QUICKACK"):
        connection = response.extensions["network_stream"].get_extra_info("socket")
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _may_have_grpc(settings: QdrantSettings) -> bool:
    """Whether the gRPC port probably belongs to this server.

    It does if the URL has no path, and either the gRPC port was set or both ports are the usual
    ones. Otherwise, another server may listen on the usual gRPC port of this host.
    """
    parts = urlsplit(settings.url or "")
    usual = QdrantSettings.model_fields["grpc_port"].default
    pair = (parts.port or usual - 1, settings.grpc_port) == (usual - 1, usual)
    return not parts.path.strip("/") and (pair or settings.grpc_port != usual)


def _answers(client: QdrantClient, collection: str) -> bool:
    """Whether a Qdrant server answers; refusing the API key is an answer too."""
    try:
        client.collection_exists(collection)
    except RpcError as error:
        return error.code() in _REFUSED
    except UnexpectedResponse:
        return True
    except ApiException:
        return False
    return True


def _channel_options(settings: QdrantSettings) -> dict[str, Any]:
    """Channel options: a connection for each channel, closed when idle, as over HTTP.

    The client's default already allows messages of any size.
    """
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


# --- TLS ------------------------------------------------------------------------------------------


def _tls(settings: QdrantSettings) -> ssl.SSLContext:
    """The TLS context of the files in the settings, or with the usual authorities.

    Raises:
        ConfigurationError: a file can't be used.
    """
    for name in ("ca_file", "cert_file", "key_file"):
        _check_readable(f"qdrant.{name}", getattr(settings, name))
    if settings.ca_file is not None:
        tls = _trusting(settings.ca_file)
    elif (settings.url or "").startswith("https:"):
        tls = httpx.create_ssl_context()
    else:  # unused; loading the authorities takes longer than the rest of connecting
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
        # Without a password, OpenSSL prompts on the terminal if the key is encrypted.
        tls.load_cert_chain(cert_file, key_file, password="")
    except ssl.SSLError as error:
        allowed = (
            f"must hold a certificate in PEM, and qdrant.key_file ({key_file}) its key, without a password"
        )
        raise _unusable("qdrant.cert_file", cert_file, allowed) from error


def _check_api_key(api_key: str | None) -> None:
    # Otherwise the header is refused with an error that quotes the key.
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise _unusable("qdrant.api_key", MASK, "must have only printable ASCII characters")


def _unusable(setting: str, value: str, allowed: str) -> ConfigurationError:
    return ConfigurationError([Problem(setting, value, allowed)])
