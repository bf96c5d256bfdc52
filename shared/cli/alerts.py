"""`barograph alerts`, `forecasts`, `acknowledge` and `silences`."""

from __future__ import annotations

import getpass
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.cli.apis import Token, Url, call, fail, open_alerts, part, the_alert
from shared.cli.options import AsJson, State
from shared.cli.rows import show_rows
from shared.embedded.stackfile import DEFAULT_STATE
from shared.terminal import table_width
from shared.visible import visible

silences = typer.Typer(no_args_is_help=True, help="Add, list and end silences.")

Host = Annotated[str, typer.Option("--host", help="Show only alerts of this machine.")]
Item = Annotated[str, typer.Option("--item", help="Show only alerts of this item.")]
Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Refresh every few seconds, until interrupted.")
]
Matchers = Annotated[
    list[str],
    typer.Argument(help="A matcher of labels, such as 'host=\"db7\"' or 'item=~\"df[.].*\"'."),
]
_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WATCH_S = 5.0
_ID_CHARS = 8
"""The length of an id's beginning that identifies an alert; commands accept it."""
_ORDER = ("critical", "warning", "info")
_COLOURS = {"critical": "red", "warning": "yellow"}


def alerts(
    host: Host = "",
    item: Item = "",
    severity: Annotated[
        str, typer.Option("--severity", help="Show only these: critical, warning or info.")
    ] = "",
    watch: Watch = False,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """List open alerts, the most severe first, and who has been notified."""
    wanted = [each.strip() for each in severity.split(",") if each.strip()]
    if unknown := sorted({*wanted} - {*_ORDER}):
        fail(f"no such severity: {', '.join(unknown)}; there are {', '.join(_ORDER)}")

    def look() -> list[dict[str, Any]]:
        found = _of(open_alerts(state, url, token), host, item)
        return sorted(
            (each for each in found if each["severity"] in (wanted or _ORDER)),
            key=lambda each: (_ORDER.index(each["severity"]), each["since"]),
        )

    _shown(look, _alerts_table, watch, as_json)


def forecasts(
    host: Host = "",
    item: Item = "",
    watch: Watch = False,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """List predicted alarms, the earliest first."""

    def look() -> list[dict[str, Any]]:
        found = _of(open_alerts(state, url, token), host, item)
        return sorted(
            (each for each in found if each.get("crossing_ms")),
            key=lambda each: each["crossing_ms"],
        )

    _shown(look, _forecasts_table, watch, as_json)


def acknowledge(
    alert: Annotated[str, typer.Argument(help="The alert's id, or its beginning.")],
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Acknowledge an alert: it is not repeated, and nobody else is notified."""
    alert = the_alert(alert, state, url, token)
    path = f"alerts/{part(alert)}/acknowledge"
    call("POST", path, state, url, token, {"by": getpass.getuser()})
    typer.echo(f"{alert}: acknowledged by {getpass.getuser()}")


@silences.command("list")
def list_silences(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show all silences and maintenance windows."""
    found = call("GET", "silences", state, url, token)
    rows = [each | {"matchers": _written(each["matchers"])} for each in found]
    if as_json:
        typer.echo(json.dumps(found))
        return
    columns = ("silence_id", "matchers", "starts_at", "ends_at", "owner", "reason")
    show_rows(rows, as_json, columns, nothing="there is no silence and no maintenance window")


@silences.command()
def add(
    matchers: Matchers,
    lasting: Annotated[
        str, typer.Option("--for", help="The length of the silence, such as 30m, 2h or 1d12h.")
    ] = "2h",
    reason: Annotated[str, typer.Option("--reason", help="The reason, shown to people.")] = "",
    preview: Annotated[
        bool, typer.Option("--preview", help="Show which alerts it would mute, without adding it.")
    ] = False,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Mute the alerts that match all MATCHERS, and show how many are open now."""
    from shared.client.client import silence_body

    try:
        ends = datetime.now(UTC) + _span(lasting)
    except (ValueError, OverflowError):
        fail(f"{lasting} is no time to last; write 30m, 2h or 1d12h")
    body = silence_body(matchers, ends, reason or "added on the command line")
    looked = call("POST", "silences/preview", state, url, token, body)
    made = {} if preview else call("POST", "silences", state, url, token, body)
    if as_json:
        typer.echo(json.dumps({"preview": looked, "silence": made or None}))
        return
    count = len(looked["open"])
    mutes = f"{count} open alert{'s' * (count != 1)}, until {ends:%Y-%m-%d %H:%M} UTC"
    for each in looked["open"]:
        typer.echo(visible(f"  {each['sentence']}"))
    typer.echo(f"{made['silence_id']} mutes {mutes}" if made else f"it would mute {mutes}")


@silences.command()
def end(silence_id: str, state: State = DEFAULT_STATE, url: Url = "", token: Token = "") -> None:
    """End a silence now; people are notified of what it held back and still holds."""
    call("DELETE", f"silences/{part(silence_id)}", state, url, token)
    typer.echo(f"{visible(silence_id)}: ended")


def _of(found: list[dict[str, Any]], host: str, item: str) -> Iterator[dict[str, Any]]:
    for each in found:
        labels = each["labels"]
        if host in {"", labels["host"]} and item in {"", labels["item"], labels.get("alertname")}:
            yield each


def _shown(
    look: Callable[[], list[dict[str, Any]]],
    table: Callable[[list[dict[str, Any]]], Table | str],
    watch: bool,
    as_json: bool,
) -> None:
    console = Console(width=table_width())
    while True:
        found = look()
        if as_json:
            typer.echo(json.dumps(found))
        else:
            if watch and console.is_terminal:
                console.clear()
            console.print(table(found), markup=False)
        if not watch:
            return
        time.sleep(_WATCH_S)


def _alerts_table(found: list[dict[str, Any]]) -> Table | str:
    if not found:
        return "no alert is open"
    table = _table("alert", "severity", "state", "with people", "since (UTC)", "what")
    for each in found:
        table.add_row(
            each["incident_id"][:_ID_CHARS],
            Text(each["severity"], _COLOURS.get(each["severity"], "")),
            each["state"],
            Text(_notification(each)),
            _clock(datetime.fromisoformat(each["since"])),
            Text(visible(each["sentence"])),
        )
    return table


def _table(*headings: str) -> Table:
    """A table in which a name that is too long for its column goes on in the next line."""
    table = Table(box=None)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _notification(alert: dict[str, Any]) -> str:
    notification = "acknowledged" if alert["acknowledged"] else str(alert["status"])
    return visible(f"{notification} by {alert['held_by']}" if alert["held_by"] else notification)


def _forecasts_table(found: list[dict[str, Any]]) -> Table | str:
    if not found:
        return "no alarm is predicted"
    table = _table("alert", "severity", "due (UTC)", "in", "what")
    for each in found:
        due = datetime.fromtimestamp(each["crossing_ms"] / 1000, UTC)
        table.add_row(
            each["incident_id"][:_ID_CHARS],
            Text(each["severity"], _COLOURS.get(each["severity"], "")),
            _clock(due),
            str(max(timedelta(0), due - datetime.now(UTC))).partition(".")[0],
            Text(visible(each["sentence"])),
        )
    return table


def _clock(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%m-%d %H:%M")


def _written(matchers: list[dict[str, str]]) -> str:
    return ", ".join(f"{each['name']}{each['op']}{json.dumps(each['value'])}" for each in matchers)


def _span(text: str) -> timedelta:
    """The duration that a text such as 1d12h names.

    Raises:
        ValueError: when it is no such time, or none at all.
    """
    parts = _SPAN.findall(text)
    seconds = sum(int(number) * _UNITS[unit] for number, unit in parts)
    if not seconds or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(text)
    return timedelta(seconds=seconds)
