"""`barograph alerts`, `forecasts`, `acknowledge` and `silences`: what is wrong, due and muted."""

from __future__ import annotations

import getpass
import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.cli_options import AsJson, State
from shared.embedded.stackfile import DEFAULT_STATE
from shared.healer_door import Token, Url, call, fail, open_alerts, show_rows, the_alert
from shared.visible import visible

silences = typer.Typer(no_args_is_help=True, help="Mute alerts for a while, see and end silences.")

Host = Annotated[str, typer.Option("--host", help="Show only this machine's.")]
Item = Annotated[str, typer.Option("--item", help="Show only those of this item.")]
Watch = Annotated[
    bool, typer.Option("--watch", "-w", help="Show it anew every few seconds, until interrupted.")
]
Matchers = Annotated[
    list[str],
    typer.Argument(
        help="A matcher that all alerts must meet, such as 'host=\"db7\"' or 'item=~\"df[.].*\"'."
    ),
]
_SPAN = re.compile(r"(\d{1,6})([smhdw])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_WATCH_S = 5.0
_SHORT = 8
"""So much of an id tells alerts apart for people; commands take it for the whole."""
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
    """Show open alerts, the most severe first, and where each stands with people."""
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
    """Show predicted alarms that are open, the earliest due first."""

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
    """Say that you take care of an alert: it is not repeated, and nobody else is notified."""
    alert = the_alert(alert, state, url, token)
    path = f"alerts/{quote(alert, safe='')}/acknowledge"
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
    show_rows(rows, as_json, ("silence_id", "matchers", "starts_at", "ends_at", "owner", "reason"))


@silences.command()
def add(
    matchers: Matchers,
    lasting: Annotated[
        str, typer.Option("--for", help="The length of the silence, such as 30m, 2h or 1d12h.")
    ] = "2h",
    reason: Annotated[str, typer.Option("--reason", help="Why; people read it.")] = "",
    preview: Annotated[
        bool, typer.Option("--preview", help="Say what it would mute, and add nothing.")
    ] = False,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Mute the alerts that all MATCHERS fit, and say how many are open now."""
    from shared.client.client import silence_body  # noqa: PLC0415 - httpx is long to import

    try:
        ends = datetime.now(UTC) + _span(lasting)
    except (ValueError, OverflowError):
        fail(f"{lasting} is no time to last; write 30m, 2h or 1d12h")
    body = silence_body(matchers, ends, reason or "said on the command line")
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
    call("DELETE", f"silences/{quote(silence_id, safe='')}", state, url, token)
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
    console = Console()
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
    table = Table("alert", "severity", "state", "with people", "since (UTC)", "what", box=None)
    for each in found:
        table.add_row(
            each["incident_id"][:_SHORT],
            Text(each["severity"], _COLOURS.get(each["severity"], "")),
            each["state"],
            Text(_standing(each)),
            _clock(datetime.fromisoformat(each["since"])),
            Text(visible(each["sentence"])),
        )
    return table


def _standing(alert: dict[str, Any]) -> str:
    standing = "acknowledged" if alert["acknowledged"] else str(alert["status"])
    return visible(f"{standing} by {alert['held_by']}" if alert["held_by"] else standing)


def _forecasts_table(found: list[dict[str, Any]]) -> Table | str:
    if not found:
        return "no alarm is predicted"
    table = Table("alert", "severity", "due (UTC)", "in", "what", box=None)
    for each in found:
        due = datetime.fromtimestamp(each["crossing_ms"] / 1000, UTC)
        table.add_row(
            each["incident_id"][:_SHORT],
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
