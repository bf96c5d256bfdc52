"""The healer's API as commands of `barograph` use it: where it is, and how answers are shown."""

from __future__ import annotations

import getpass
import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.embedded.process import EmbeddedError
from shared.embedded.stackfile import read_stack_file
from shared.healing_story import is_alert
from shared.visible import visible

Url = Annotated[
    str,
    typer.Option(
        "--healer",
        envvar="BAROGRAPH_HEALER_URL",
        help="The healer's address, in place of the running stack's.",
    ),
]
Token = Annotated[
    str,
    typer.Option(
        "--token", envvar="BAROGRAPH_HEALER_TOKEN", help="The bearer token of the healer's API."
    ),
]

_MAX_ALERTS = 5000
_MAX_NAMED = 5
_BEGINNING = re.compile(r"[0-9a-f]{4,8}(-[0-9a-f-]*)?")


def open_alerts(state: Path, url: str, token: str) -> list[dict[str, Any]]:
    """Every alert that has not ended, oldest first."""
    found: list[dict[str, Any]] = []
    while True:
        path = f"alerts?limit={_MAX_ALERTS}&offset={len(found)}"
        page = json.loads(call("GET", path, state, url, token))
        found += page
        if len(page) < _MAX_ALERTS:
            return found


def the_alert(text: str, state: Path, url: str, token: str) -> str:
    """The id of an open alert that begins so; ``text`` itself where it is one, or begins none."""
    if is_alert(text) or not _BEGINNING.fullmatch(text):
        return text
    ids = [each["incident_id"] for each in open_alerts(state, url, token)]
    meant = [each for each in ids if each.startswith(text)]
    if len(meant) > 1:
        fail(f"{text} may be {', '.join(meant[:_MAX_NAMED])}; say more of the id")
    return meant[0] if meant else text


def said(reason: str, **more: Any) -> dict[str, Any]:
    """What a person decided, with whose decision it is."""
    return {"by": getpass.getuser(), "reason": reason, **more}


def call(
    method: str, path: str, state: Path, url: str, token: str, body: dict[str, Any] | None = None
) -> bytes:
    """The answer's body; ends the command with what a refusal says."""
    if not url:
        try:
            stack = read_stack_file(state)
        except EmbeddedError as error:
            fail(str(error))
        url, token = stack.healer_url, stack.healer_token
    return ask(method, path, url, token, body)


def ask(method: str, path: str, url: str, token: str, body: dict[str, Any] | None = None) -> bytes:
    """The answer of an API of ours at ``url``; ends the command with what a refusal says."""
    if not url.startswith(("http://", "https://")):
        fail(f"{url} is not an http address")
    headers = {"Content-Type": "application/json"}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        f"{url.rstrip('/')}/api/v1/{path}", data, headers, method=method
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - as above
            return bytes(answer.read())
    except urllib.error.HTTPError as error:
        fail(_problems(error))
    except (urllib.error.URLError, OSError) as error:
        fail(f"{url} does not answer: {error}")


def _problems(error: urllib.error.HTTPError) -> str:
    try:
        faults = json.loads(error.read())["faults"]
        return "\n".join(f"{f['field']}: {f['problem']}".removeprefix(": ") for f in faults)
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"


def show_rows(rows: list[dict[str, Any]], as_json: bool, columns: tuple[str, ...]) -> None:
    """Rows as a table, or as JSON."""
    if as_json:
        typer.echo(json.dumps(rows))
        return
    table = Table(*columns)
    for row in rows:
        cells = [row.get(name) for name in columns]
        table.add_row(*(_cell(cell) for cell in cells))
    Console().print(table)


def _cell(value: object) -> Text:
    """As plain text: what machines and people sent is no markup."""
    if isinstance(value, float):
        return Text(f"{value:.3g}")
    return Text("-" if value is None or value == "" else visible(str(value)))


def fail(text: str) -> NoReturn:
    """End the command with this on standard error."""
    typer.echo(text, err=True)
    raise typer.Exit(1)
