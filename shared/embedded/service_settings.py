"""Each service's settings in a stack: the addresses and credentials of the others it needs."""

from __future__ import annotations

from collections.abc import Mapping

from shared.embedded.stackfile import StackFile
from shared.setting_sources import ConfigFile
from shared.topology import Principal

DECIDED = (
    *("broker_url", "store_url", "state_dir", "health_port"),
    *("s3_url", "s3_access_key", "s3_secret_key"),
)
"""Settings of all services that a stack gives to each of its own; by a service's name alone they
may be given otherwise."""
_USES_OBJECTS = frozenset({"client", "task", "detector"})
"""The services that receive the object store's keys."""


def object_settings(name: str, file: StackFile) -> dict[str, str]:
    """Variables with address and keys of the object store, for those who use it."""
    if name not in _USES_OBJECTS:
        return {}
    return {
        "BAROGRAPH_S3_URL": file.s3_url,
        "BAROGRAPH_S3_ACCESS_KEY": file.s3_access_key,
        "BAROGRAPH_S3_SECRET_KEY": file.s3_secret_key,
    }


def decided_here(env: Mapping[str, str], file: ConfigFile | None) -> list[str]:
    """Settings given for all services although the stack decides them for each."""
    for_all = {name: given.origin for name, given in (file.of_all() if file else ())}
    variables = {name: f"BAROGRAPH_{name.upper()}" for name in DECIDED}
    found = [variables[name] for name in DECIDED if variables[name] in env]
    return found + [for_all[name] for name in DECIDED if name in for_all]


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
            "PAGE_URL": file.client_url,
        },
    }
    return dict(settings.get(name, {}))


def _port(url: str) -> str:
    return url.rpartition(":")[2]
