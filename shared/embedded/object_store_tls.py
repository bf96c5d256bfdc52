"""Protects SeaweedFS' internal endpoints (master, volume server, filer, admin) with certificates.

Only its S3 door checks keys. The other servers take whatever comes to their ports, and on one
machine every local user, and every job's program, reaches the loopback ports. With mutual TLS on
all of them, HTTP and gRPC alike, they answer to SeaweedFS' own processes alone: nobody else can
read the private key.
"""

from __future__ import annotations

import ipaddress
import secrets
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from shared.embedded.files import write_private
from shared.embedded.process import LOOPBACK

_VALID = timedelta(days=3650)
"""A new certificate is made at every start, so nothing runs longer than this."""
_JWT = ("jwt.signing", "jwt.signing.read", "jwt.filer_signing", "jwt.filer_signing.read")
_GRPC = ("master", "volume", "filer", "s3", "admin", "worker", "client")
_HTTPS = ("master", "volume", "filer", "admin", "client")


def write_security(directory: Path) -> None:
    """Write ``security.toml``, which SeaweedFS reads in its working directory, and its keys."""
    certificate, private = directory / "inner.crt", directory / "inner.key"
    for path, pem in zip((certificate, private), new_identity(), strict=True):
        write_private(path, pem)
    write_private(directory / "security.toml", _settings(certificate, private))


def new_identity() -> tuple[str, str]:
    """A certificate that signs itself, and its private key, as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return _self_signed(key).decode(), pem.decode()


def _self_signed(key: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "barograph object store")])
    now = datetime.now(UTC)
    address = x509.IPAddress(ipaddress.ip_address(LOOPBACK))
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that is set back must not keep the store from starting.
        .not_valid_before(now - _VALID)
        .not_valid_after(now + _VALID)
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .sign(key, SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


def _settings(certificate: Path, private: Path) -> str:
    pair = f'cert = "{certificate}"\nkey = "{private}"\n'
    authority = f'ca = "{certificate}"\n'
    tables = [f'[{name}]\nkey = "{secrets.token_hex(32)}"\n' for name in _JWT]
    tables += [f"[grpc]\n{authority}", *(f"[grpc.{name}]\n{pair}" for name in _GRPC)]
    for name in _HTTPS:
        enabled = "enabled = true\n" if name == "client" else ""
        tables.append(f"[https.{name}]\n{enabled}{pair}{authority}")
    return "".join(tables)
