"""Broker tokens for one instance of a principal, such as one job's members.

RabbitMQ's own OAuth 2 plug-in verifies them; the broker knows the public key alone, so whoever
reads its configuration can make none, and whoever makes them needs no administrator's rights.
A scope is ``<resource server>.<right>:<virtual host>/<queue or exchange>[/<routing key>]``, each
part percent-encoded, ``*`` for any characters; see https://www.rabbitmq.com/docs/oauth2.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from shared import topology
from shared.topology import Grant, Principal

PLUGIN = "rabbitmq_auth_backend_oauth2"
RESOURCE_SERVER = "barograph"
KEY_ID = "barograph"
ALGORITHM = "ES256"
"""Short signatures: what logs in must fit into a frame of 4,096 bytes."""


def server_settings(public_key: Path | str) -> dict[str, object]:
    """The lines of ``rabbitmq.conf`` that let a broker accept our tokens beside its users."""
    return {
        "auth_backends.1": "internal",
        "auth_backends.2": "rabbit_auth_backend_oauth2",
        "auth_oauth2.resource_server_id": RESOURCE_SERVER,
        f"auth_oauth2.signing_keys.{KEY_ID}": public_key,
        "auth_oauth2.algorithms.1": ALGORITHM,
    }


def new_signing_key() -> str:
    """A private key as PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public_key(signing_key: str) -> str:
    """The PEM a broker verifies with."""
    public = _loaded(signing_key).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def check_signing_key(signing_key: str) -> None:
    """Raise ValueError, without the key in its text, for what cannot sign."""
    _loaded(signing_key)


def url_with_token(
    url: str, signing_key: str, principal: Principal, word: str, expires: float
) -> str:
    """``url`` with a token of one instance instead of user and password.

    Args:
        url: AMQP URL of any user; host, port, virtual host and options are kept.
        signing_key: the private key as PEM.
        principal: whose rows of the topology count.
        word: the last word of the routing keys the instance may use.
        expires: seconds since 1970 from which on the broker accepts it no more.
    """
    parts = urlsplit(url)
    user = f"{principal}.{word}"
    vhost = unquote(parts.path[1:]) or "/"
    claims = {
        "sub": user,
        "aud": RESOURCE_SERVER,
        "exp": int(expires),
        "scope": " ".join(_scope(vhost, grant) for grant in topology.grants(principal, word)),
    }
    token = jwt.encode(claims, _loaded(signing_key), ALGORITHM, {"kid": KEY_ID})
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{quote(user, safe='')}:{token}@{host}").geturl()


def _scope(vhost: str, grant: Grant) -> str:
    names = [vhost, grant.resource, *filter(None, [grant.key])]
    # Colons need no encoding, and every byte counts.
    return f"{RESOURCE_SERVER}.{grant.right}:{'/'.join(quote(n, safe='*:') for n in names)}"


@cache
def _loaded(signing_key: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = load_pem_private_key(signing_key.encode(), password=None)
    except (ValueError, TypeError):
        key = None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        reason = "not the PEM of a private key on the curve P-256 without a passphrase"
        raise ValueError(reason)  # noqa: TRY004 - a value of the settings, whatever it is
    return key
