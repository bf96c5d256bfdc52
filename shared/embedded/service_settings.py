"""What each service of a stack knows of the others: addresses and credentials it needs."""

from __future__ import annotations

from shared.embedded.stackfile import StackFile
from shared.topology import Principal

_USES_OBJECTS = frozenset({"client", "task", "detector"})
"""Who gets the object store's keys."""


def object_settings(name: str, file: StackFile) -> dict[str, str]:
    """Variables with address and keys of the object store, for those who use it."""
    if name not in _USES_OBJECTS:
        return {}
    return {
        "BAROGRAPH_S3_URL": file.s3_url,
        "BAROGRAPH_S3_ACCESS_KEY": file.s3_access_key,
        "BAROGRAPH_S3_SECRET_KEY": file.s3_secret_key,
    }


def own_settings(name: str, file: StackFile) -> dict[str, str]:
    """A service's own settings, by name without its prefix."""
    settings: dict[str, dict[str, str]] = {
        "client": {
            "HTTP_PORT": _port(file.client_url),
            "API_TOKEN": file.client_token,
            "HEALER_URL": file.healer_url,
            "HEALER_TOKEN": file.healer_token,
            "MAILDIR": file.maildir,
        },
        "detector": {
            "GATEWAY_PORT": _port(file.gateway_url),
            "GATEWAY_TOKEN": file.gateway_token,
        },
        "task": {"MEMBER_BROKER_URL": file.broker_urls[Principal.MEMBER]},
        "healer": {
            "SMTP_URL": file.smtp_url,
            "HTTP_PORT": _port(file.healer_url),
            "HTTP_TOKEN": file.healer_token,
            "PUBLIC_URL": file.healer_url,
        },
    }
    return dict(settings.get(name, {}))


def _port(url: str) -> str:
    return url.rpartition(":")[2]
