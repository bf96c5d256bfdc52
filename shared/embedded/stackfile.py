"""``stack.json``: where everything of a running stack is found, readable by its owner only."""

from __future__ import annotations

import json
import secrets
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from shared.embedded.files import write_private
from shared.embedded.process import EmbeddedError
from shared.embedded.state import default_state

DEFAULT_STATE = default_state()
STATE_WORDS = "/var/lib/barograph for root, ~/.local/state/barograph for others"
"""How the default is said: it depends on who asks."""


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


def write_stack_file(state: Path, content: StackFile) -> Path:
    """Write it in one step, mode 0600."""
    path = state / StackFile.NAME
    new = path.with_suffix(".new")
    write_private(new, content.model_dump_json(indent=2))
    new.replace(path)
    return path


def kept_tokens(state: Path, names: Sequence[str]) -> dict[str, str]:
    """A token for each name, the same at every start: senders and browsers remember them."""
    path = state / "tokens.json"
    try:
        known = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        known = None
    if not isinstance(known, dict):
        known = {}
    tokens = {name: str(known.get(name) or secrets.token_urlsafe(24)) for name in names}
    if tokens != known:
        write_private(path, json.dumps(tokens, indent=2))
    return tokens


def read_stack_file(state: Path = DEFAULT_STATE) -> StackFile:
    """The stack that runs under ``state``; EmbeddedError when none does."""
    path = state.expanduser() / StackFile.NAME
    try:
        return StackFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise EmbeddedError(f"nothing runs under {state}: start it with `barograph up`") from None
    except PermissionError:
        raise EmbeddedError(
            f"{path} belongs to another user: ask as that user, or name your own with --state"
        ) from None
    except ValidationError as error:
        raise EmbeddedError(f"{path} is not a stack file: {error}") from error


def is_ready(health_url: str) -> bool:
    """Whether a service answers ``/readyz`` with 200."""
    try:
        # Only URLs of our own making come here.
        with urllib.request.urlopen(f"{health_url}/readyz", timeout=2) as answer:  # noqa: S310
            return bool(answer.status == 200)  # noqa: PLR2004 - HTTP's OK
    except (urllib.error.URLError, OSError):
        return False
