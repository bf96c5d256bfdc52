"""``barograph healing``: decide on actions and rules, stop healing, export the audit log."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import urlencode

import typer

from shared.cli.apis import (
    Hosts,
    Reason,
    Token,
    Url,
    call,
    call_for_bytes,
    fail,
    part,
    said,
    the_alert,
)
from shared.cli.correlation import accept, reject, related, rules
from shared.cli.narrative import is_alert, tell
from shared.cli.options import AsJson, State
from shared.cli.rows import show_rows
from shared.embedded.stackfile import DEFAULT_STATE
from shared.visible import visible

app = typer.Typer(
    no_args_is_help=True, help="Decide on actions and rules, stop healing, export the audit log."
)


@app.command("list")
def list_actions(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """List open actions: what is proposed and until when to decide, and what is in progress."""
    found = call("GET", "actions", state, url, token)
    columns = ("action_id", "state", "remediation", "target", "total_steps", "expires")
    show_rows(found, as_json, columns, nothing="no action is proposed or in progress")


@app.command()
def show(
    alert_id: str,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Show one alert: why, what was done, what is planned, and the evidence of its machine."""
    alert_id = the_alert(alert_id, state, url, token)
    found = call("GET", f"alerts/{part(alert_id)}", state, url, token)
    if as_json:
        typer.echo(json.dumps(found))
        return
    typer.echo(f"{found['severity']} {found['state']}: {found['observation']['sentence']}")
    for action in found["actions"]:
        typer.echo(f"  - {action}")
    for step in found["plan"]:
        typer.echo(f"planned: {step['command'] or step['action'] + ' ' + step['target']}")
    evidence = found["evidence"]
    for looked in [evidence, *evidence["more"]] if evidence else []:
        typer.echo(f"\n{looked['title']}")
        rows = [row["columns"] for row in looked["rows"]]
        columns = tuple(dict.fromkeys(name for row in rows for name in row))
        show_rows(rows, as_json, columns, nothing="nothing was found")


@app.command(hidden=True)
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
    """Explain why people were notified of an alert, or why not."""
    alert_or_host = the_alert(alert_or_host, state, url, token)
    if is_alert(alert_or_host):
        path = f"alerts/{part(alert_or_host)}/narrative"
        stories = [call("GET", path, state, url, token)]
    else:
        asked = {"host": alert_or_host, "item": item} | ({"at": at} if at else {})
        stories = call("GET", f"why?{urlencode(asked, errors='replace')}", state, url, token)
    if as_json:
        typer.echo(json.dumps(stories))
        return
    if not stories:
        fitting = " with this item or at this time" if item or at else ""
        typer.echo(
            f"no alert of {visible(alert_or_host)} is remembered{fitting}; `barograph alerts` "
            "lists the open ones, and one that has ended is found by its machine or its id"
        )
    for story in stories:
        tell(story)


@app.command()
def doctor(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show what keeps critical alerts from reaching people; exit status 1 if anything does."""
    found = call("GET", "reachability", state, url, token)
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
    """Execute a proposed action, as it was shown."""
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
    """Stop all healing (kill switch); actions in progress end before their next step."""
    call("POST", "healing/stop", state, url, token, said(reason, hosts=hosts))
    typer.echo(f"stopped on {hosts}")


@app.command()
def resume(
    hosts: Hosts = "*",
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Resume acting where it was stopped with the same pattern."""
    left = call("POST", "healing/resume", state, url, token, said(reason, hosts=hosts))
    still = ", ".join(switch["hosts"] for switch in left)
    typer.echo(f"resumed on {hosts}" + (f"; still stopped: {still}" if still else ""))


for command in (rules, accept, reject, related):
    app.command()(command)


@app.command("not-an-anomaly")
def not_an_anomaly(
    alert_id: str,
    reason: Reason = "",
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
) -> None:
    """Report a false alarm; the detector learns that such values are normal."""
    path = f"alerts/{part(the_alert(alert_id, state, url, token))}/judge"
    call("POST", path, state, url, token, said(reason, anomaly=False))
    typer.echo("noted")


@app.command(hidden=True)
def health(
    groups: Annotated[
        bool, typer.Option("--groups", help="Show groups of machines instead of machines.")
    ] = False,
    state: State = DEFAULT_STATE,
    url: Url = "",
    token: Token = "",
    as_json: AsJson = False,
) -> None:
    """Show the health of machines, worst first, and what to fix first."""
    path = f"health?scope={'group' if groups else 'machine'}"
    found = call("GET", path, state, url, token)
    columns = ("name", "score", "verdict", "trend", "first", "usage", "advice")
    show_rows(found, as_json, columns, nothing="no machine has sent samples yet")


@app.command(hidden=True)
def ledger(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show how many alarms were averted, how many were missed, and what did not help."""
    found = call("GET", "ledger", state, url, token)
    if as_json:
        typer.echo(json.dumps(found))
        return
    counts = ("predicted", "came_true", "false", "averted", "saved", "alarms", "missed")
    columns = ("item", *counts, "accuracy")
    show_rows(found["items"], as_json, columns, nothing="no alarm was predicted or raised yet")
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
    """Export the audit log; verify it with `python -m services.healer audit-verify FILE`."""
    text = call_for_bytes("audit", state, url, token)
    with target.open("xb") as file:
        file.write(text)
    typer.echo(f"{len(text.splitlines())} entries in {target}")


def _decide(
    action_id: str, decision: str, wanted: str, reason: str, state: Path, url: str, token: str
) -> None:
    path = f"actions/{part(action_id)}/{decision}"
    action = call("POST", path, state, url, token, said(reason))
    if action["state"] != wanted:
        fail(f"it is {action['state']}: {action['reason'] or 'somebody else decided before'}")
    typer.echo(f"{action['remediation']} on {action['target']}: {wanted}")
