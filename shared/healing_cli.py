"""``barograph healing``: decide on actions and rules, throw the kill switch, check the audit."""

from __future__ import annotations

import csv
import getpass
import json
import urllib.error
import urllib.request
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import quote, urlencode

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.embedded.process import EmbeddedError
from shared.embedded.stackfile import DEFAULT_STATE, STATE_WORDS, read_stack_file
from shared.healing_story import is_alert, tell
from shared.visible import visible

app = typer.Typer(no_args_is_help=True, help=__doc__)

State = Annotated[
    Path,
    typer.Option(
        "--state",
        help="The directory in which the running stack keeps its files.",
        show_default=STATE_WORDS,
    ),
]
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
Reason = Annotated[str, typer.Option("--reason", help="The reason, which the audit keeps.")]
Hosts = Annotated[
    str, typer.Option("--hosts", help="The machines, as a shell pattern of their names.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command("list")
def list_actions(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show open actions: what is proposed, until when to decide, what is under way."""
    found = json.loads(_call("GET", "actions", state, url, token))
    _show(found, as_json, ("action_id", "state", "remediation", "target", "total_steps", "expires"))


@app.command()
def show(
    alert_id: str,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Show one alert: why, what was done, what is planned, and the evidence of its machine."""
    found = json.loads(_call("GET", f"alerts/{quote(alert_id, safe='')}", state, url, token))
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"{found['severity']} {found['state']}: {found['sight']['sentence']}")
    for action in found["actions"]:
        typer.echo(f"  - {action}")
    for step in found["plan"]:
        typer.echo(f"planned: {step['command'] or step['action'] + ' ' + step['target']}")
    evidence = found["evidence"]
    for looked in [evidence, *evidence["more"]] if evidence else []:
        typer.echo(f"\n{looked['title']}")
        rows = [row["columns"] for row in looked["rows"]]
        _show(rows, as_json, tuple(dict.fromkeys(name for row in rows for name in row)))


@app.command()
def why(
    alert_or_host: Annotated[str, typer.Argument(help="An alert's id, or a machine's name.")],
    item: Annotated[
        str, typer.Argument(help="If a machine is named: only its alerts of this item.")
    ] = "",
    at: Annotated[
        str,
        typer.Option(
            "--at",
            help="Only alerts that were open at this time, such as 2026-01-31T14:05:00+01:00.",
        ),
    ] = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Say why people were notified of an alert, or why not: what was seen, decided and sent."""
    if is_alert(alert_or_host):
        path = f"alerts/{quote(alert_or_host, safe='')}/narrative"
        stories = [json.loads(_call("GET", path, state, url, token))]
    else:
        asked = {"host": alert_or_host, "item": item} | ({"at": at} if at else {})
        stories = json.loads(_call("GET", f"why?{urlencode(asked)}", state, url, token))
    if as_json:
        typer.echo(json.dumps(stories))
        return
    if not stories:
        typer.echo(f"no alert of {visible(alert_or_host)} is remembered that fits")
    for story in stories:
        tell(story)


@app.command()
def doctor(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Say what keeps a critical alert from people; exit status 1 if anything does."""
    found = json.loads(_call("GET", "reachability", state, url, token))
    lines = [visible(problem) for problem in found["problems"]]
    typer.echo(json.dumps(found) if as_json else "\n".join(lines) or "people can be reached")
    if lines:
        raise typer.Exit(1)


@app.command()
def approve(
    action_id: str,
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Have a proposed action carried out, as it was shown."""
    _decide(action_id, "approve", "running", reason, state, url, token)


@app.command()
def refuse(
    action_id: str,
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Refuse a proposed action."""
    _decide(action_id, "refuse", "refused", reason, state, url, token)


@app.command()
def stop(
    hosts: Hosts = "*",
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """The kill switch: nothing acts any more; what is under way ends before its next step."""
    _call("POST", "healing/stop", state, url, token, _said(reason, hosts=hosts))
    typer.echo(f"stopped on {hosts}")


@app.command()
def resume(
    hosts: Hosts = "*",
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Let acting go on where it was stopped with the same pattern."""
    left = json.loads(
        _call("POST", "healing/resume", state, url, token, _said(reason, hosts=hosts))
    )
    still = ", ".join(switch["hosts"] for switch in left)
    typer.echo(f"resumed on {hosts}" + (f"; still stopped: {still}" if still else ""))


@app.command()
def rules(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show correlation rules: which alarms go together, how surely, and what was decided."""
    found = json.loads(_call("GET", "rules", state, url, token))
    flat = [rule | rule.pop("pair") for rule in found]
    columns = ("rule_id", "state", "scope", "cause", "effect", "support", "confidence", "lift")
    _show(flat, as_json, (*columns, "lag_s", "count"))


@app.command()
def accept(
    rule_id: str,
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Accept a rule: from now on B is attached to A."""
    _call("POST", f"rules/{quote(rule_id, safe='')}/accept", state, url, token, _said(reason))
    typer.echo("accepted")


@app.command()
def reject(
    rule_id: str,
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Reject a rule, or retire one that was accepted."""
    _call("POST", f"rules/{quote(rule_id, safe='')}/reject", state, url, token, _said(reason))
    typer.echo("rejected")


@app.command()
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
        _fail(f"cannot read it: {error}")
    answer = json.loads(_call("POST", "associations", state, url, token, body | {"item": item}))
    if not as_json:
        typer.echo(f"{answer['alarms']} alarms")
    _show(answer["metrics"], as_json, ("metric", "related", "z", "gain_ratio", "windows"))


@app.command("not-an-anomaly")
def not_an_anomaly(
    alert_id: str,
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Say that an alarm was none; its detector learns that values like this are normal."""
    path = f"alerts/{quote(alert_id, safe='')}/judge"
    _call("POST", path, state, url, token, _said(reason, anomaly=False))
    typer.echo("noted")


@app.command()
def health(
    groups: Annotated[
        bool, typer.Option("--groups", help="Show groups of machines in place of machines.")
    ] = False,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Show how well machines are, worst first, and what to fix first."""
    path = f"health?scope={'group' if groups else 'machine'}"
    found = json.loads(_call("GET", path, state, url, token))
    _show(found, as_json, ("name", "score", "verdict", "trend", "first", "usage", "advice"))


@app.command()
def ledger(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show how many alarms never had to happen, how many nobody foresaw, what did not help."""
    found = json.loads(_call("GET", "ledger", state, url, token))
    if as_json:
        typer.echo(json.dumps(found))
        return
    counts = ("predicted", "came_true", "false", "averted", "saved", "alarms", "missed")
    _show(found["items"], as_json, ("item", *counts, "accuracy", "reduction", "missed_rate"))
    typer.echo(
        f"remediations: {found['saved']} saved an alarm, {found['repaired']} ended one, "
        f"{found['failed']} did not help"
    )


@app.command()
def audit(
    target: Annotated[Path, typer.Argument(help="The file to write; it must not exist yet.")],
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Export the audit; check it with `python -m services.healer audit-verify FILE`."""
    text = _call("GET", "audit", state, url, token)
    with target.open("xb") as file:
        file.write(text)
    typer.echo(f"{len(text.splitlines())} entries in {target}")


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


def _decide(
    action_id: str, decision: str, wanted: str, reason: str, state: Path, url: str, token: str
) -> None:
    path = f"actions/{quote(action_id, safe='')}/{decision}"
    action = json.loads(_call("POST", path, state, url, token, _said(reason)))
    if action["state"] != wanted:
        _fail(f"it is {action['state']}: {action['reason'] or 'somebody else decided before'}")
    typer.echo(f"{action['remediation']} on {action['target']}: {wanted}")


def _said(reason: str, **more: Any) -> dict[str, Any]:
    return {"by": getpass.getuser(), "reason": reason, **more}


def _call(
    method: str, path: str, state: Path, url: str, token: str, body: dict[str, Any] | None = None
) -> bytes:
    if not url:
        try:
            stack = read_stack_file(state)
        except EmbeddedError as error:
            _fail(str(error))
        url, token = stack.healer_url, stack.healer_token
    if not url.startswith(("http://", "https://")):
        _fail(f"{url} is not an http address")
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
        _fail(_problems(error))
    except (urllib.error.URLError, OSError) as error:
        _fail(f"{url} does not answer: {error}")


def _problems(error: urllib.error.HTTPError) -> str:
    try:
        faults = json.loads(error.read())["faults"]
        return "\n".join(f"{f['field']}: {f['problem']}".removeprefix(": ") for f in faults)
    except (ValueError, KeyError, TypeError):
        return f"{error.code} {error.reason}"


def _show(rows: list[dict[str, Any]], as_json: bool, columns: tuple[str, ...]) -> None:
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


def _fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(1)
