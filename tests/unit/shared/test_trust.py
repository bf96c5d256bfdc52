"""Authorities of one's own are trusted beside the public ones, by everything that connects."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import urllib3
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

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


def _authority(*, days: int) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority")])
    unsigned = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    )
    return unsigned.sign(key, hashes.SHA256()), key


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)


def _files() -> dict[str, tuple[bytes | None, str]]:
    certificate, key = _authority(days=9)
    old, _ = _authority(days=-30)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    damaged = _pem(certificate).replace(b"MII", b"!!!", 1)
    return {
        "missing": (None, "No such file"),
        "empty": (b"", "it is empty"),
        "text": (b"no certificate", "it has none in PEM"),
        "zeros": (b"\x00", "it has none in PEM"),
        "cut off": (_pem(certificate)[:200], "its certificate is cut off"),
        "DER": (certificate.public_bytes(Encoding.DER), "it is DER"),
        "a key": (secret, "it is a private key"),
        "expired": (_pem(old), "expired on"),
        "damaged": (_pem(old) + damaged, "certificate 2 is damaged"),
        "large": (b"#" * (16 * 2**20 + 1), "more than 16777216"),
    }


FILES = _files()


@pytest.mark.parametrize("what", [*FILES, "a directory"])
def test_a_file_without_certificates_stops_a_service_with_a_sentence(
    what: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "ca.crt"
    content, said = FILES.get(what, (None, "Is a directory"))
    if what == "a directory":
        file.mkdir()
    elif content is not None:
        file.write_bytes(content)
    with pytest.raises(UntrustedError):
        trust(file)
    monkeypatch.setenv("BAROGRAPH_CA_FILE", str(file))
    assert start(ServiceSettings, "test", lambda _settings: pytest.fail("it started")) == 2
    told = capsys.readouterr().err
    assert told.startswith(f"BAROGRAPH_CA_FILE: {file} holds no certificates")
    assert said in told
    assert told.count("\n") == 1


def test_what_stands_beside_certificates_is_no_fault_and_goes_nowhere(tmp_path: Path) -> None:
    certificate, key = _authority(days=9)
    old, _ = _authority(days=-30)
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    pem = b"\xef\xbb\xbf# F\xc5\x91tan\xfas\xedtv\xe1ny\n" + _pem(old) + secret + _pem(certificate)
    file = tmp_path / "ca.crt"
    file.write_bytes(pem.replace(b"\n", b"\r\n"))
    known = trust(file).read_bytes()
    assert b"PRIVATE KEY" not in known
    context = ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"])
    names = [name for each in context.get_ca_certs() for name in each["subject"]]
    assert names.count((("commonName", "authority"),)) == 2  # the expired one, too
