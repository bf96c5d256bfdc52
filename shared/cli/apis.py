"""The two APIs for commands of `barograph`: refusals end a command, answers are printed."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from shared.cli.narrative import is_alert
from shared.visible import visible

Url = Annotated[
    str,
    typer.Option(
        "--healer",
        envvar="BAROGRAPH_HEALER_URL",
        help="The healer's address, instead of the running stack's.",
    ),
]
Token = Annotated[
    str,
    typer.Option(
        "--token", envvar="BAROGRAPH_HEALER_TOKEN", help="The bearer token of the healer's API."
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="The reason, kept in the audit log.")]
Hosts = Annotated[
    str, typer.Option("--hosts", help="The machines, as a shell pattern of their names.")
]

_MAX_NAMED = 5
_BEGINNING = re.compile(r"[0-9a-f]{4,8}(-[0-9a-f-]*)?")


def open_alerts(state: Path, url: str, token: str) -> list[dict[str, Any]]:
    """Every alert that has not ended, oldest first."""
    # httpx, behind it, takes long to import: help and the other commands do without.
    from shared.client.client import Client, open_alerts

    with ended_by_errors(), Client(healer_url=url, healer_token=token, state=state) as barograph:
        return open_alerts(barograph.alerts_api)


def the_alert(text: str, state: Path, url: str, token: str) -> str:
    """The id of an open alert that begins so; ``text`` itself where it is one, or begins none."""
    if is_alert(text) or not _BEGINNING.fullmatch(text):
        return text
    ids = [each["incident_id"] for each in open_alerts(state, url, token)]
    meant = [each for each in ids if each.startswith(text)]
    if len(meant) > 1:
        fail(f"{text} may be {', '.join(meant[:_MAX_NAMED])}; give more of the id")
    return meant[0] if meant else text


def said(reason: str, **more: Any) -> dict[str, Any]:
    """A person's decision as the API takes it, with that person's name."""
    return {"by": getpass.getuser(), "reason": reason, **more}


def part(text: str) -> str:
    """One part of a path, whatever is in it; ends the command where nothing can be named so."""
    from shared.client.connection import path_part

    with ended_by_errors():
        return path_part(text)


def call(
    method: str, path: str, state: Path, url: str, token: str, body: dict[str, Any] | None = None
) -> Any:
    """The healer's answer; ends the command with what a refusal says."""
    from shared.client import Client

    with ended_by_errors(), Client(healer_url=url, healer_token=token, state=state) as barograph:
        return barograph.alerts_api.call(method, f"/{path}", **_with(body))


def call_for_bytes(path: str, state: Path, url: str, token: str) -> bytes:
    """The healer's answer at ``path``, byte for byte."""
    from shared.client import Client

    with ended_by_errors(), Client(healer_url=url, healer_token=token, state=state) as barograph:
        return bytes(barograph.alerts_api.request("GET", f"/{path}").content)


def call_client(
    method: str, path: str, state: Path, url: str, token: str, body: dict[str, Any] | None = None
) -> Any:
    """The client service's answer; ends the command with what a refusal says."""
    from shared.client import Client

    with ended_by_errors(), Client(url, token, state=state) as barograph:
        return barograph.jobs_api.call(method, f"/{path}", **_with(body))


@contextmanager
def ended_by_errors() -> Iterator[None]:
    """End the command with every fault that an API named."""
    from shared.client import ClientError

    try:
        yield
    except ClientError as error:
        fail(visible(str(error)))


def _with(body: dict[str, Any] | None) -> dict[str, Any]:
    return {} if body is None else {"json": body}


def fail(text: str) -> NoReturn:
    """End the command with this on standard error."""
    typer.echo(text, err=True)
    raise typer.Exit(1)
