"""``barograph healing`` about alarms that go together: rules, and metrics that move before them."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import quote

import typer

from shared.cli_options import AsJson, State
from shared.embedded.stackfile import DEFAULT_STATE
from shared.healer_door import Hosts, Reason, Token, Url, call, fail, said, show_rows


def rules(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show correlation rules: which alarms go together, how surely, and what was decided."""
    found = call("GET", "rules", state, url, token)
    flat = [rule | rule.pop("pair") for rule in found]
    columns = ("rule_id", "state", "scope", "cause", "effect", "support", "confidence", "lift")
    show_rows(flat, as_json, (*columns, "lag_s", "count"))


def accept(
    rule_id: str,
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Accept a rule: from now on B is attached to A."""
    call("POST", f"rules/{quote(rule_id, safe='')}/accept", state, url, token, said(reason))
    typer.echo("accepted")


def reject(
    rule_id: str,
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Reject a rule, or retire one that was accepted."""
    call("POST", f"rules/{quote(rule_id, safe='')}/reject", state, url, token, said(reason))
    typer.echo("rejected")


def related(
    metrics: Annotated[
        Path,
        typer.Argument(
            help="A CSV file with a column time (Unix seconds or ISO 8601) and one column for "
            "each metric."
        ),
    ],
    item: Annotated[
        str, typer.Option("--item", help="Take the alarms of this item that the healer remembers.")
    ] = "",
    hosts: Hosts = "*",
    alarms: Annotated[
        Path | None,
        typer.Option("--alarms", help="Take the alarms from this file, which has one time a line."),
    ] = None,
    window: Annotated[
        int,
        typer.Option("--window", help="The number of steps before an alarm that are looked at."),
    ] = 5,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Show which recorded metrics move before an alarm, the most telling first."""
    try:
        body: dict[str, Any] = {"metrics": _columns(metrics), "hosts": hosts, "window": window}
        if alarms is not None:
            body["alarms"] = [_unix_s(line) for line in alarms.read_text().split("\n") if line]
    except (OSError, ValueError, KeyError) as error:
        fail(f"cannot read it: {error}")
    answer = call("POST", "associations", state, url, token, body | {"item": item})
    if not as_json:
        typer.echo(f"{answer['alarms']} alarms")
    show_rows(answer["metrics"], as_json, ("metric", "related", "z", "gain_ratio", "windows"))


def _columns(path: Path) -> dict[str, list[tuple[float, float]]]:
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        found: dict[str, list[tuple[float, float]]] = {
            name: [] for name in rows.fieldnames or () if name != "time"
        }
        for row in rows:
            at = _unix_s(row["time"])
            for name, column in found.items():
                if row[name]:  # an empty field: nothing was measured then
                    column.append((at, float(row[name])))
    return found


def _unix_s(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).timestamp()
