"""TLS to a Qdrant server: authorities, client certificates, and errors for unusable files."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr
from support.qdrant_grpc_stub import QdrantGrpcStub
from support.qdrant_stub import QdrantStub
from support.qdrant_tls import Certificates, make_certificates

from app.errors import ConfigurationError
from app.services.storage.qdrant.opening import open_vector_client
from app.services.storage.qdrant.ports import ClientFailure
from app.settings.sections import QdrantSettings

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs the openssl program")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    return make_certificates(tmp_path_factory.mktemp("certificates"))


@contextmanager
def serving(certificates: Certificates, *, clients_need_one: bool) -> Iterator[QdrantSettings]:
    """Settings that trust the server, without a client certificate."""
    with (
        QdrantStub(tls=certificates.for_rest(clients_need_one=clients_need_one)) as rest,
        QdrantGrpcStub(credentials=certificates.for_grpc(clients_need_one=clients_need_one)) as grpc,
    ):
        yield QdrantSettings(url=rest.url, grpc_port=grpc.port, ca_file=certificates.file("ca.pem"))


@pytest.fixture(scope="module")
def open_to_all(certificates: Certificates) -> Iterator[QdrantSettings]:
    with serving(certificates, clients_need_one=False) as settings:
        yield settings


@pytest.fixture(scope="module")
def for_the_known(certificates: Certificates) -> Iterator[QdrantSettings]:
    with serving(certificates, clients_need_one=True) as settings:
        yield settings


Ping = Callable[..., None]


@pytest.fixture(params=["rest", "grpc"])
def ping(request: pytest.FixtureRequest) -> Ping:
    def ping(settings: QdrantSettings, **changes: str | None) -> None:
        protocol = {"prefer_grpc": request.param == "grpc"}
        client = open_vector_client(settings.model_copy(update=changes | protocol))
        try:
            client.ping()
        finally:
            client.close()

    return ping


def test_a_server_of_a_trusted_authority_is_talked_to(ping: Ping, open_to_all: QdrantSettings) -> None:
    ping(open_to_all)


def test_one_of_an_unknown_authority_is_not(ping: Ping, open_to_all: QdrantSettings) -> None:
    with pytest.raises(ClientFailure, match=r"(?i)certificate.verify.failed"):
        ping(open_to_all, ca_file=None)


def test_nor_one_of_another_name(ping: Ping, open_to_all: QdrantSettings) -> None:
    assert open_to_all.url is not None
    with pytest.raises(ClientFailure, match=r"(?i)certificate|hostname"):
        ping(open_to_all, url=open_to_all.url.replace("127.0.0.1", "localhost"))


def test_a_server_that_knows_its_clients_knows_us(
    ping: Ping, for_the_known: QdrantSettings, certificates: Certificates
) -> None:
    ping(for_the_known, cert_file=certificates.file("client.pem"), key_file=certificates.file("client.key"))


def test_and_nobody_else(ping: Ping, for_the_known: QdrantSettings) -> None:
    with pytest.raises(ClientFailure):
        ping(for_the_known)


@pytest.mark.parametrize(
    ("settings", "named", "reason"),
    [
        ({"ca_file": "none.pem"}, ("qdrant.ca_file", "none.pem"), "No such file"),
        ({"ca_file": "."}, ("qdrant.ca_file", ""), "Is a directory"),
        ({"ca_file": "bad.pem"}, ("qdrant.ca_file", "bad.pem"), "certificates in PEM"),
        ({"ca_file": "ca.key"}, ("qdrant.ca_file", "ca.key"), "certificates in PEM"),
        ({"cert_file": "none.pem", "key_file": "client.key"}, ("qdrant.cert_file", "none.pem"), "No such file"),
        ({"cert_file": "client.pem", "key_file": "none.key"}, ("qdrant.key_file", "none.key"), "No such file"),
        ({"cert_file": "bad.pem", "key_file": "client.key"}, ("qdrant.cert_file", "bad.pem"), "in PEM"),
        ({"cert_file": "client.pem", "key_file": "bad.pem"}, ("qdrant.cert_file", "client.pem"), "bad.pem"),
        ({"cert_file": "client.pem", "key_file": "server.key"}, ("qdrant.cert_file", "client.pem"), "its key"),
        (
            {"cert_file": "client.pem", "key_file": "encrypted.key"},
            ("qdrant.cert_file", "client.pem"),
            "without a password",
        ),
    ],
    ids=str,
)
def test_an_unusable_file_is_named_with_its_setting(
    ping: Ping, certificates: Certificates, settings: dict[str, str], named: tuple[str, str], reason: str
) -> None:
    files = {name: certificates.file(file) for name, file in settings.items()}
    with pytest.raises(ConfigurationError) as raised:
        ping(QdrantSettings(url="https://127.0.0.1:1"), **files)
    [problem] = raised.value.problems
    assert (problem.key, problem.value) == (named[0], certificates.file(named[1]))
    assert reason in problem.allowed


@pytest.mark.parametrize("key", ["s3cr\net", "s3cr\u00e9t"])
def test_an_api_key_that_is_no_header_is_refused_and_not_shown(ping: Ping, key: str) -> None:
    with pytest.raises(ConfigurationError, match=r"qdrant\.api_key") as raised:
        ping(QdrantSettings(url="https://127.0.0.1:1", api_key=SecretStr(key)))
    assert "s3cr" not in f"{raised.value} {raised.value!r} {raised.value.__cause__!r}"
