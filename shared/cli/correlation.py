"""``barograph healing``: correlation rules, and metrics that change before alarms."""

from __future__ import annotations

import csv
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from shared.cli.apis import Hosts, Reason, Token, Url, call, fail, part, said
from shared.cli.options import AsJson, State
from shared.cli.rows import show_rows
from shared.embedded.stackfile import DEFAULT_STATE


def rules(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show correlation rules: which alarms occur together, how often, and what was decided."""
    found = call("GET", "rules", state, url, token)
    flat = [rule | rule.pop("pair") for rule in found]
    columns = ("rule_id", "state", "scope", "cause", "effect", "support", "confidence", "lift")
    nothing = "no rule has been found: alarms have not occurred together often enough"
    show_rows(flat, as_json, (*columns, "lag_s", "count"), nothing=nothing)


def accept(
    rule_id: str,
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Accept a rule: from now on alarms of B are attached to those of A."""
    call("POST", f"rules/{part(rule_id)}/accept", state, url, token, said(reason))
    typer.echo("accepted")


def reject(
    rule_id: str,
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Reject a rule, or retire one that was accepted."""
    call("POST", f"rules/{part(rule_id)}/reject", state, url, token, said(reason))
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
        str, typer.Option("--item", help="Take the alarms of this item from the healer.")
    ] = "",
    hosts: Hosts = "*",
    alarms: Annotated[
        Path | None,
        typer.Option("--alarms", help="Take the alarms from this file, with one time per line."),
    ] = None,
    window: Annotated[
        int,
        typer.Option("--window", help="The number of steps before an alarm that are examined."),
    ] = 5,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Show which recorded metrics change before an alarm, the strongest association first."""
    try:
        body: dict[str, Any] = {"metrics": _columns(metrics), "hosts": hosts, "window": window}
        if alarms is not None:
            body["alarms"] = [_unix_s(line) for line in alarms.read_text().split("\n") if line]
    except (OSError, ValueError, KeyError) as error:
        fail(f"{metrics} is read as a CSV file of metrics, and that failed: {_why(error)}")
    answer = call("POST", "associations", state, url, token, body | {"item": item})
    if not as_json:
        typer.echo(f"{answer['alarms']} alarms")
    columns = ("metric", "related", "z", "gain_ratio", "windows")
    show_rows(answer["metrics"], as_json, columns, nothing="no metric changes before the alarms")


def _why(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no column {error}"
    return f"{error.filename}: {error.strerror}" if isinstance(error, OSError) else str(error)


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
