"""Additional certificate authorities, trusted by everything that connects.

OpenSSL, botocore and httpx each read one file of certificates, named by a variable of the
environment; a file that holds only one's own would end the trust in all others.
"""

from __future__ import annotations

import importlib.util
import os
import re
import ssl
import tempfile
import time
from pathlib import Path

VARIABLE = "BAROGRAPH_CA_FILE"
_MAX_BYTES = 16 * 2**20
"""A file of all public authorities has a fiftieth of it."""
_CERTIFICATE = re.compile(
    rb"-----BEGIN (CERTIFICATE|TRUSTED CERTIFICATE|X509 CERTIFICATE)-----[^-]*-----END \1-----"
)
_OTHERS = (
    (b"PRIVATE KEY-----", "it is a private key"),
    (b"BEGIN CERTIFICATE REQUEST-----", "it is a request for a certificate"),
    (b"BEGIN CERTIFICATE-----", "its certificate is cut off"),
    (b"BEGIN PKCS7-----", "it is PKCS #7: openssl pkcs7 -print_certs makes PEM of it"),
)
_READERS = ("SSL_CERT_FILE", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")


class UntrustedError(Exception):
    """The file holds no certificates; the text says why."""


def trust(own: Path) -> Path:
    """Have this process, and those it starts, trust ``own`` beside the public authorities.

    Call it before anything connects. Returns the file with all of them, which is this process'.

    Raises:
        UntrustedError: when the file cannot be read, or is no PEM of certificates.
    """
    try:
        pem = _certificates(own)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise UntrustedError(f"{own} holds no certificates of authorities: {error}") from error
    public = _public()
    known = public.read_bytes() if public is not None else b""
    with tempfile.NamedTemporaryFile(prefix="authorities-", suffix=".pem", delete=False) as file:
        file.write(known.rstrip() + b"\n" + pem)
    os.environ.update(dict.fromkeys(_READERS, file.name))
    return Path(file.name)


def authorities() -> Path | None:
    """The certificates that this process trusts, in one file; None where none is known.

    They are those of ``trust``, or of SSL_CERT_FILE, and else the public ones.
    """
    return _public()


def context() -> ssl.SSLContext:
    """The trust of commands and programs, which have no settings of their own.

    Raises:
        UntrustedError: when BAROGRAPH_CA_FILE holds no certificates.
    """
    made = ssl.create_default_context(cafile=authorities())
    if named := os.environ.get(VARIABLE, ""):
        try:
            made.load_verify_locations(cadata=_certificates(Path(named)).decode("ascii"))
        except (OSError, ValueError, ssl.SSLError) as error:
            raise UntrustedError(f"{VARIABLE}: {named}: {error}") from error
    return made


def _certificates(own: Path) -> bytes:
    """The certificates in a file alone, without the comments and keys that may stand beside them.

    Raises OSError, ValueError or SSLError, which say what the file is instead.
    """
    size = own.stat().st_size
    if size > _MAX_BYTES:
        raise ValueError(f"it has {size} bytes, more than {_MAX_BYTES}")
    with own.open("rb") as file:
        data = file.read(_MAX_BYTES)
    found = [match[0] for match in _CERTIFICATE.finditer(data)]
    if not found:
        raise ValueError(_described(data))
    expiries = [_expiry(number, each) for number, each in enumerate(found, start=1)]
    if max(expiries) < time.time():
        date = time.strftime("%Y-%m-%d", time.gmtime(max(expiries)))
        raise ValueError(f"expired on {date}")
    return b"\n".join(found) + b"\n"


def _expiry(number: int, certificate: bytes) -> float:
    """Return when an authority's certificate expires, in Unix seconds; servers' are not checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cadata=certificate.decode("ascii"))
    except (ssl.SSLError, ValueError) as error:
        raise ValueError(f"certificate {number} is damaged ({error})") from error
    ends = [str(each["notAfter"]) for each in context.get_ca_certs()]
    return max(map(ssl.cert_time_to_seconds, ends), default=float("inf"))


def _described(data: bytes) -> str:
    """The fault of a file without a certificate in PEM."""
    if not data.strip():
        return "it is empty"
    if data.startswith(b"\x30") and data[1:2] >= b"\x80":
        return "it is DER: openssl x509 -inform der makes PEM of it"
    return next((words for mark, words in _OTHERS if mark in data), "it has none in PEM")


def _public() -> Path | None:
    """The public authorities' certificates: the system's, or those that certifi brings."""
    found = ssl.get_default_verify_paths().cafile
    if found is not None:
        return Path(found)
    if importlib.util.find_spec("certifi") is None:
        return None
    import certifi  # noqa: PLC0415 - not every service has it

    return Path(certifi.where())
