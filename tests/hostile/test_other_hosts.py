"""Servers with a good certificate of another host: nobody tells them anything.

Each is asked as ``localhost``. It has a certificate of a trusted authority, and where that is made
out to another host, no byte of ours comes through.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError

from services.client.groups import GroupRights
from services.client.healer_api import HealerApi
from services.client.oidc import Provider
from services.client.settings import ClientSettings
from services.healer.notify.channels.http import post
from services.healer.notify.channels.smtp import send
from shared.client import Client, transfers
from shared.client import connection as connections
from shared.messaging.link import Link
from shared.storage.s3_client import s3_client, translated
from shared.store.engine import engine
from shared.trust import trust

OTHER = "other.example"
_DAY = timedelta(days=1)


def _name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _certificate(
    host: str, key: ec.EllipticCurvePrivateKey, signed_by: ec.EllipticCurvePrivateKey
) -> bytes:
    now = datetime.now(UTC)
    authority = key is signed_by
    serial = x509.random_serial_number()
    made = x509.CertificateBuilder(_name("authority"), _name(host), key.public_key(), serial)
    made = made.not_valid_before(now - _DAY).not_valid_after(now + _DAY)
    made = made.add_extension(x509.BasicConstraints(authority, None), critical=True)
    if not authority:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    return made.sign(signed_by, hashes.SHA256()).public_bytes(Encoding.PEM)


class Server:
    """Greets as its kind does, and keeps what comes after the handshake."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.heard: list[bytes] = []
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.greet: Callable[[socket.socket], object] = lambda _: None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listening.accept()
            with connection:
                connection.settimeout(10)
                if self._stopping.is_set():
                    return
                try:
                    self.greet(connection)
                    with self._context.wrap_socket(connection, server_side=True) as wrapped:
                        self.heard.append(wrapped.recv(1000))
                except OSError:
                    pass  # the other side would not go on

    def stop(self) -> None:
        self._stopping.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join()
        self._listening.close()


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Server]]:
    for name in ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "PGSSLROOTCERT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    authority, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    (tmp_path / "ca.pem").write_bytes(_certificate("authority", authority, authority))
    trust(tmp_path / "ca.pem")
    servers: list[Server] = []

    def begin(host: str) -> Server:
        file = tmp_path / f"{host}.pem"
        secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        file.write_bytes(_certificate(host, key, authority) + secret)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        servers.append(Server(context))
        return servers[-1]

    connections._context.cache_clear()
    yield begin
    connections._context.cache_clear()
    for server in servers:
        server.stop()


def _mail() -> EmailMessage:
    mail = EmailMessage()
    mail["From"], mail["To"] = "a@example.org", "b@example.org"
    return mail


def _starttls(connection: socket.socket) -> None:
    for said in (b"220 x\r\n", b"250-x\r\n250 STARTTLS\r\n"):
        connection.sendall(said)
        connection.recv(1000)
    connection.sendall(b"220 go on\r\n")


def _take_tls(connection: socket.socket) -> None:
    connection.recv(8)
    connection.sendall(b"S")


def _broker(port: int) -> None:
    link = Link(f"amqps://task:secret@localhost:{port}/%2F", "test")
    link.start()
    try:
        while not link.last_error:
            pass
        raise ConnectionError(link.last_error)
    finally:
        link.stop()


def _store(port: int) -> None:
    with translated("a bucket"):
        s3_client(f"https://localhost:{port}", "key", "secret").list_buckets()


def _provider(port: int) -> None:
    settings = ClientSettings(
        oidc_issuer=f"https://localhost:{port}",
        public_url="https://barograph.example",
        oidc_client_id="barograph",
        api_token=SecretStr("secret"),
        groups={"*": GroupRights()},
    )
    Provider(settings)._description()


def _healer(port: int) -> None:
    settings = ClientSettings(
        healer_api_url=f"https://localhost:{port}", healer_token=SecretStr("secret")
    )
    HealerApi(settings).ask("GET", "alerts")


DOORS: dict[str, Callable[[int], object]] = {
    "broker": _broker,
    "object store": _store,
    "webhook": lambda port: post(SecretStr(f"https://localhost:{port}/secret"), {}, {}),
    "mail": lambda port: send(f"smtps://a:secret@localhost:{port}", _mail()),
    "mail after STARTTLS": lambda port: send(f"smtp+starttls://a:secret@localhost:{port}", _mail()),
    "identity provider": _provider,
    "healer": _healer,
    "client": lambda port: Client(f"https://localhost:{port}", "secret").job("j"),
    "upload": lambda port: transfers.put_part(f"https://localhost:{port}/", b"secret"),
}


@pytest.mark.parametrize("door", DOORS)
def test_a_certificate_of_another_host_ends_the_talk_before_it_begins(
    serve: Callable[[str], Server], door: str
) -> None:
    server = serve(OTHER)
    if door == "mail after STARTTLS":
        server.greet = _starttls
    with pytest.raises(Exception, match=r"(?i)hostname") as refused:
        DOORS[door](server.port)
    assert "localhost" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert not any(server.heard)


@pytest.mark.parametrize("mode", ["verify-full", "verify-ca"])
def test_a_database_is_verified_by_the_authorities_that_services_trust(
    serve: Callable[[str], Server], mode: str
) -> None:
    url = "postgresql+psycopg://task:secret@localhost:{}/task?sslmode=" + mode
    for host, heard in (("localhost", True), (OTHER, mode == "verify-ca")):
        server = serve(host)
        server.greet = _take_tls
        with pytest.raises(OperationalError, match="SSL" if heard else "does not match host name"):
            engine(url.format(server.port)).connect()
        assert any(b"user\0task" in each for each in server.heard) is heard


def test_programs_trust_the_file_that_services_trust(
    serve: Callable[[str], Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = serve("localhost")
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(Exception, match="certificate verify failed"):
        DOORS["client"](server.port)
    assert not any(server.heard)
    connections._context.cache_clear()
    monkeypatch.setenv("BAROGRAPH_CA_FILE", str(tmp_path / "ca.pem"))
    with pytest.raises(Exception, match="does not answer"):
        DOORS["client"](server.port)
    assert any(b"secret" in each for each in server.heard)
    connections._context.cache_clear()
    monkeypatch.setenv("BAROGRAPH_CA_FILE", str(tmp_path / "none"))
    with pytest.raises(Exception, match=r"BAROGRAPH_CA_FILE: .*none.*No such file"):
        DOORS["client"](server.port)
