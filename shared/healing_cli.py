"""``barograph healing``: decide on actions and rules, throw the kill switch, check the audit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlencode

import typer

from shared.cli_options import AsJson, State
from shared.correlation_cli import accept, reject, related, rules
from shared.embedded.stackfile import DEFAULT_STATE
from shared.healer_door import (
    Hosts,
    Reason,
    Token,
    Url,
    call,
    call_for_bytes,
    fail,
    said,
    show_rows,
    the_alert,
)
from shared.healing_story import is_alert, tell
from shared.visible import visible

app = typer.Typer(no_args_is_help=True, help=__doc__)


@app.command("list")
def list_actions(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show open actions: what is proposed, until when to decide, what is under way."""
    found = call("GET", "actions", state, url, token)
    show_rows(
        found, as_json, ("action_id", "state", "remediation", "target", "total_steps", "expires")
    )


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
    found = call("GET", f"alerts/{quote(alert_id, safe='')}", state, url, token)
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
        show_rows(rows, as_json, tuple(dict.fromkeys(name for row in rows for name in row)))


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
    """Say why people were notified of an alert, or why not: what was seen, decided and sent."""
    alert_or_host = the_alert(alert_or_host, state, url, token)
    if is_alert(alert_or_host):
        path = f"alerts/{quote(alert_or_host, safe='')}/narrative"
        stories = [call("GET", path, state, url, token)]
    else:
        asked = {"host": alert_or_host, "item": item} | ({"at": at} if at else {})
        stories = call("GET", f"why?{urlencode(asked)}", state, url, token)
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
    """Let acting go on where it was stopped with the same pattern."""
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
    """Say that an alarm was none; its detector learns that values like this are normal."""
    path = f"alerts/{quote(the_alert(alert_id, state, url, token), safe='')}/judge"
    call("POST", path, state, url, token, said(reason, anomaly=False))
    typer.echo("noted")


@app.command(hidden=True)
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
    found = call("GET", path, state, url, token)
    show_rows(found, as_json, ("name", "score", "verdict", "trend", "first", "usage", "advice"))


@app.command(hidden=True)
def ledger(
    state: State = DEFAULT_STATE, url: Url = "", token: Token = "", as_json: AsJson = False
) -> None:
    """Show how many alarms never had to happen, how many nobody foresaw, what did not help."""
    found = call("GET", "ledger", state, url, token)
    if as_json:
        typer.echo(json.dumps(found))
        return
    counts = ("predicted", "came_true", "false", "averted", "saved", "alarms", "missed")
    show_rows(found["items"], as_json, ("item", *counts, "accuracy", "reduction", "missed_rate"))
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
    text = call_for_bytes("audit", state, url, token)
    with target.open("xb") as file:
        file.write(text)
    typer.echo(f"{len(text.splitlines())} entries in {target}")


def _decide(
    action_id: str, decision: str, wanted: str, reason: str, state: Path, url: str, token: str
) -> None:
    path = f"actions/{quote(action_id, safe='')}/{decision}"
    action = call("POST", path, state, url, token, said(reason))
    if action["state"] != wanted:
        fail(f"it is {action['state']}: {action['reason'] or 'somebody else decided before'}")
    typer.echo(f"{action['remediation']} on {action['target']}: {wanted}")
