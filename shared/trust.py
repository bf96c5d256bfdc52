"""Certificate authorities of one's own, trusted beside the public ones by everything that connects.

OpenSSL, botocore and httpx each read one file of certificates, named by a variable of the
environment; a file that holds only one's own would end the trust in all others.
"""

from __future__ import annotations

import importlib.util
import os
import ssl
import tempfile
from pathlib import Path

VARIABLE = "BAROGRAPH_CA_FILE"
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
        pem = own.read_text(encoding="ascii")
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem)
    except (OSError, ValueError, ssl.SSLError) as error:
        raise UntrustedError(f"{own} holds no certificates of authorities: {error}") from error
    public = _public()
    known = public.read_text(encoding="utf-8") if public is not None else ""
    with tempfile.NamedTemporaryFile(
        "w", prefix="authorities-", suffix=".pem", delete=False, encoding="utf-8"
    ) as file:
        file.write(f"{known.rstrip()}\n{pem}")
    os.environ.update(dict.fromkeys(_READERS, file.name))
    return Path(file.name)


def _public() -> Path | None:
    """The public authorities' certificates: the system's, or those that certifi brings."""
    found = ssl.get_default_verify_paths().cafile
    if found is not None:
        return Path(found)
    if importlib.util.find_spec("certifi") is None:
        return None
    import certifi  # noqa: PLC0415 - not every service has it

    return Path(certifi.where())
