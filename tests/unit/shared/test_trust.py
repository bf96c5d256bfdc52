"""Authorities of one's own are trusted beside the public ones, by everything that connects."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from pathlib import Path

import pytest
import urllib3

from shared.embedded.object_store_tls import new_identity
from shared.settings import ServiceSettings, start
from shared.trust import UntrustedError, trust

_READERS = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in _READERS:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_a_server_of_ones_own_authority_is_trusted_and_the_public_ones_still_are(
    tmp_path: Path,
) -> None:
    certificate, key = tmp_path / "own.crt", tmp_path / "own.key"
    for path, pem in zip((certificate, key), new_identity(), strict=True):
        path.write_text(pem)
    before = ssl.create_default_context().cert_store_stats()["x509_ca"]
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate, key)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        serving = threading.Thread(target=_answer, args=(listening, served))
        serving.start()
        known = trust(certificate)
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/"
        with urllib3.PoolManager(assert_hostname=False, retries=False) as pool:
            assert pool.request("GET", url).data == b"ok"
        serving.join()
    assert ssl.create_default_context().cert_store_stats()["x509"] >= before + 1
    assert {os.environ[name] for name in _READERS} == {str(known)}


def _answer(listening: socket.socket, context: ssl.SSLContext) -> None:
    connection, _ = listening.accept()
    with context.wrap_socket(connection, server_side=True) as wrapped:
        wrapped.recv(65536)
        wrapped.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")


@pytest.mark.parametrize(
    "content", [None, "", "no certificate", "\x00", "-----BEGIN CERTIFICATE-----"]
)
def test_a_file_without_certificates_stops_a_service_with_a_sentence(
    content: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "ca.crt"
    if content is not None:
        file.write_text(content)
    with pytest.raises(UntrustedError):
        trust(file)
    monkeypatch.setenv("BAROGRAPH_CA_FILE", str(file))
    assert start(ServiceSettings, "test", lambda _settings: pytest.fail("it started")) == 2
    assert capsys.readouterr().err.startswith(f"BAROGRAPH_CA_FILE: {file} holds no certificates")
