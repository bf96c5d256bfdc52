"""The healer's books: machines and their health, the ledger, rules, the audit, the channels."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from services.client.alerts.model import Filter
from services.client.api.dependencies import Provided
from services.client.api.forms import SentForm
from services.client.healer_api import HealerRefused

_MAX_MACHINES, _MAX_ALERTS, _AUDIT_PAGE = 2_000, 50, 100
routes = APIRouter(include_in_schema=False)


@routes.get("/machines")
def machines(client: Provided) -> HTMLResponse:
    return client.page(
        "machines.html",
        here="machines",
        machines=client.healer.get("health", limit=_MAX_MACHINES),
        groups=client.healer.get("health", scope="group"),
        stopped=client.healer.get("healing"),
    )


@routes.get("/machines/{name}")
def machine(client: Provided, name: str) -> HTMLResponse:
    known = [each for each in client.healer.get("health", limit=5_000) if each["name"] == name]
    found = [
        alert
        for alert in client.alerts.alerts(Filter(state="open", host=name), _MAX_ALERTS, 0)
        if alert.host == name
    ]
    if not (known or found):
        what = f"Nothing is known of a machine {name}."
        return client.page("missing.html", 404, here="machines", what=what)
    try:
        hours = client.healer.get("health", name, "hours")["hours"]
    except HealerRefused:
        hours = []  # none has ended yet
    return client.page(
        "machine.html",
        here="machines",
        name=name,
        machine=known[0] if known else None,
        hours=[_of_hour(each) for each in hours],
        alerts=found,
    )


@routes.post("/healing/{change}")
def switch(client: Provided, change: Literal["stop", "resume"], form: SentForm) -> Response:
    said = {"by": form.by, "reason": form.text("reason"), "hosts": form.text("hosts") or "*"}
    client.healer.ask("POST", "healing", change, json=said)
    return form.back(change, "/machines")


@routes.get("/ledger")
def ledger(client: Provided) -> HTMLResponse:
    return client.page("ledger.html", here="ledger", ledger=client.healer.get("ledger"))


@routes.get("/rules")
def rules(client: Provided) -> HTMLResponse:
    found = client.healer.get("rules")
    order = ("proposed", "accepted", "retired", "rejected")
    found.sort(key=lambda rule: (order.index(rule["state"]), -rule["pair"]["lift"]))
    return client.page("rules.html", here="rules", rules=found)


@routes.get("/audit")
def audit(client: Provided, before: Annotated[int | None, Query(ge=1)] = None) -> HTMLResponse:
    newest = int(client.healer.ask("GET", "audit", params={"after": 2**62}).headers["audit-number"])
    last = min(before - 1, newest) if before else newest
    first = max(0, last - _AUDIT_PAGE)
    lines = client.healer.ask("GET", "audit", params={"after": first}).text.splitlines()
    entries = [_entry(first + 1 + n, line) for n, line in enumerate(lines[: last - first])]
    older = f"/audit?before={first + 1}" if first else None
    shown = {"entries": entries[::-1], "newest": newest, "older": older}
    return client.page("audit.html", here="audit", **shown)


@routes.get("/channels")
def channels(client: Provided) -> HTMLResponse:
    found = client.healer.get("channels")
    for each in found:
        for name in ("last_sent", "failing_since"):
            each[name] = each[name] and datetime.fromisoformat(each[name])
    problems = client.healer.get("reachability")["problems"]
    return client.page("channels.html", here="channels", channels=found, problems=problems)


@routes.post("/channels/{name}/test")
def test(client: Provided, name: str, form: SentForm) -> Response:
    client.healer.ask("POST", "channels", name, "test")
    return form.back("channel", "/channels")


def _of_hour(hour: dict[str, Any]) -> dict[str, Any]:
    score = hour["score"]
    band = "good" if score >= 80 else "fair" if score >= 50 else "poor"  # noqa: PLR2004
    return hour | {"at": datetime.fromtimestamp(hour["hour"] * 3600, UTC), "band": band}


def _entry(number: int, line: str) -> dict[str, Any]:
    """An entry in its parts: who and what first, the rest as it was written."""
    entry = json.loads(line)
    at = datetime.fromisoformat(entry.pop("at"))
    entry.pop("previous", None)
    event, by = entry.pop("event"), entry.pop("by", "")
    about = entry.pop("about", "")
    rest = {name: value for name, value in entry.items() if value not in ("", None, about)}
    words = ", ".join(f"{name} {json.dumps(value)}" for name, value in rest.items())
    return {"number": number, "at": at, "event": event, "by": by, "about": about, "rest": words}
