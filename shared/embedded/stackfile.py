"""``stack.json``: addresses and credentials of a running stack, readable by its owner only."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Sequence
from functools import partial
from http import HTTPStatus
from pathlib import Path
from secrets import token_urlsafe
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field

from shared.embedded.files import kept_secrets, write_private
from shared.embedded.process import EmbeddedError
from shared.embedded.state import default_state

DEFAULT_STATE = default_state()
STATE_WORDS = "/var/lib/barograph for root, ~/.local/state/barograph for others"
"""The words for the default, which depends on who asks."""

_NAMED = "BAROGRAPH_STATE (`barograph` also takes --state)"
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine's services; the proxy that an environment names would not reach them."""


class StackFile(BaseModel):
    """Addresses and credentials of a running stack; all on loopback."""

    NAME: ClassVar[str] = "stack.json"
    model_config = ConfigDict(frozen=True, extra="ignore")

    supervisor_pid: int = Field(description="Process to stop with SIGTERM.")
    client_url: str = Field(description="HTTP API and web page.")
    client_token: str = Field(
        default="", description="Bearer token of its API; also what the page's login takes."
    )
    gateway_url: str = Field(
        description="The address to which samples are sent, e.g. by Prometheus."
    )
    gateway_token: str = Field(description="Bearer token senders present.")
    healer_url: str = Field(default="", description="Alerts in, links, silences.")
    healer_token: str = Field(default="", description="Bearer token of its API.")
    s3_url: str
    s3_access_key: str
    s3_secret_key: str
    smtp_url: str
    maildir: str = Field(description="The directory in which mail arrives.")
    broker_admin_url: str = Field(description="RabbitMQ's management, as administrator.")
    broker_urls: dict[str, str] = Field(description="AMQP URL per principal.")
    health: dict[str, str] = Field(description="Base URL of /livez, /readyz, /metrics a service.")
    logs: str = Field(description="Directory of one log file per service.")
    config: str = Field(default="", description="The file with its settings; empty for none.")
    notes: str = Field(
        default="", description="Lines about ports that are not the usual ones, and why."
    )


def write_stack_file(state: Path, content: StackFile) -> Path:
    """Write it in one step, mode 0600."""
    path = state / StackFile.NAME
    write_private(path, content.model_dump_json(indent=2))
    return path


def kept_tokens(state: Path, names: Sequence[str]) -> dict[str, str]:
    """A token for each name, the same at every start: senders and browsers remember them."""
    return kept_secrets(state / "tokens.json", dict.fromkeys(names, partial(token_urlsafe, 24)))


def read_stack_file(state: Path = DEFAULT_STATE) -> StackFile:
    """The stack that runs under ``state``; EmbeddedError when none does."""
    path = state.expanduser() / StackFile.NAME
    try:
        return StackFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise EmbeddedError(
            f"nothing runs under {state}: start it with `barograph up`, or name where it was "
            f"started with {_NAMED}"
        ) from None
    except PermissionError:
        raise EmbeddedError(
            f"{path} belongs to another user: ask as that user, or name your own with {_NAMED}"
        ) from None
    except (OSError, ValueError) as error:  # a damaged one is a ValueError, as is a name with NUL
        raise EmbeddedError(f"{path} is not a stack file: {error}") from error


def is_ready(health_url: str) -> bool:
    """Return whether a service answers ``/readyz`` with 200."""
    try:
        with _DIRECT.open(f"{health_url}/readyz", timeout=2) as answer:
            return bool(answer.status == HTTPStatus.OK)
    except (urllib.error.URLError, OSError):
        return False
