"""Certificates for the stubs of a Qdrant server, by a test authority, made with ``openssl``."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc

_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")
# Required by the strict checks of Python 3.13 and newer.
_AUTHORITY = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
_EXTENSIONS = "subjectAltName=IP:127.0.0.1\nauthorityKeyIdentifier=keyid\n"


@dataclass(frozen=True, slots=True)
class Certificates:
    """PEM files and keys in ``folder``: ``ca``, and ``server`` and ``client``, signed by it."""

    folder: Path

    def file(self, name: str) -> str:
        return str(self.folder / name)

    def for_rest(self, *, clients_need_one: bool) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=self.file("ca.pem"))
        context.load_cert_chain(self.file("server.pem"), self.file("server.key"))
        context.verify_mode = ssl.CERT_REQUIRED if clients_need_one else ssl.CERT_NONE
        return context

    def for_grpc(self, *, clients_need_one: bool) -> grpc.ServerCredentials:
        def read(name: str) -> bytes:
            return (self.folder / name).read_bytes()

        return grpc.ssl_server_credentials(
            [(read("server.key"), read("server.pem"))],
            root_certificates=read("ca.pem") if clients_need_one else None,
            require_client_auth=clients_need_one,
        )


def make_certificates(folder: Path) -> Certificates:
    """Make the certificates in ``folder``.

    There are also ``encrypted.key``, the client's key with a password, and the invalid ``bad.pem``.
    """
    (folder / "extensions").write_text(_EXTENSIONS)
    (folder / "bad.pem").write_text("no certificate")
    _openssl(
        folder, "req", "-x509", *_NEW_KEY, *_AUTHORITY, "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem"
    )
    for number, name in enumerate(("server", "client"), start=1):
        request = ("-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        _openssl(folder, "req", *_NEW_KEY[:-2], *request)
        signer = ("-CA", "ca.pem", "-CAkey", "ca.key", "-set_serial", str(number), "-days", "2")
        signed = ("-in", f"{name}.csr", "-extfile", "extensions", "-out", f"{name}.pem")
        _openssl(folder, "x509", "-req", *signer, *signed)
    _openssl(folder, "ec", "-aes128", "-passout", "pass:secret", "-in", "client.key", "-out", "encrypted.key")
    return Certificates(folder)


def _openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)  # noqa: S607 - by PATH
