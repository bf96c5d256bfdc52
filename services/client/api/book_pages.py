"""Pages with the healer's data: machines and their health, rules, the audit log, channels."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse, Response

from services.client.access import CALLER
from services.client.alerts.model import AlertModel
from services.client.alerts.records import AlertView
from services.client.api.dependencies import Provided
from services.client.api.faults import refusal
from services.client.api.forms import SentForm
from services.client.api.paging import address, neighbours
from services.client.audit_words import has_sentence, sentence
from services.client.healer_api import HealerApi, HealerRefused, HealerUnavailable
from services.client.hours import Row, day_of, strip
from services.client.series.addresses import way_of
from shared.contracts import CorrelationChanged, HealthReported
from shared.health_map import MIN_SHOWN_LOSS, MapWanted, health_map

_MACHINES_PAGE, _MAX_ALERTS = 300, 50
_AUDIT_PAGE, _AUDIT_SEARCHED = 100, 5_000
"""Entries of a page, and those that are searched for it."""
_VERDICTS = ("sick", "watch", "healthy")
_STATES = ("proposed", "accepted", "retired", "rejected")
StateOfRule = Literal["", "proposed", "accepted", "retired", "rejected"]
Verdict = Literal["", "sick", "watch", "healthy"]
_OF_ALERTS = ("decided", "anomaly.judge", "incident.acknowledge")
"""Audit entries that are about an alert; those of actions name theirs beside it."""
_LONGEST_ENTRY = 4_000
_IN_SENTENCE = frozenset(
    {"event", "by", "about", "incident_id", "action_id", "rule_id", "hosts", "matchers", "cause"}
    | {"effect", "remediation", "target", "anomaly", "known", "approve", "accept", "fence"}
)
"""Fields of an entry that its sentence says, and ids; the whole entry has them."""
_MAX_ACTIONS, _LATELY = 10, timedelta(days=7)
_MALFORMED = (LookupError, TypeError, ValueError, RecursionError)
"""Errors of an answer that is not the healer's."""
routes = APIRouter(include_in_schema=False)


@routes.get("/machines")
def machines(
    client: Provided,
    verdict: Verdict = "",
    search: Annotated[str, Query(max_length=200)] = "",
    group: Annotated[str, Query(max_length=200)] = "",
    term: Annotated[str, Query(max_length=200)] = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> HTMLResponse:
    asked = {"verdict": verdict, "search": search, "group": group, "term": term}
    # The healer draws its part meanwhile, in a process of its own.
    with ThreadPoolExecutor(1) as beside:
        answered = beside.submit(_hours_of, client.healer, asked | {"offset": str(offset)})
        reports, groups = client.alerts.machines.reports()
        hosts = next((each.hosts for each in groups if each.name == group), group)
        wanted = MapWanted(verdict=verdict, search=search, hosts=hosts, term=term)
        found = health_map(reports, groups, wanted, offset, _MACHINES_PAGE)
        silent = () if verdict or group or term or offset else _unreported(client.alerts, reports)
        hours = answered.result()

    def way(**change: str) -> str:
        return address("/machines", asked | change)

    counts = found.verdicts
    verdicts = [("", sum(counts.values()), way(verdict=""))]
    verdicts += [(v, counts.get(v, 0), way(verdict=v)) for v in _VERDICTS]
    return client.page(
        "machines.html",
        here="machines",
        machines=[
            each.model_dump(exclude={"hours"}) | {"strip": strip((hours or {}).get(each.name, ()))}
            for each in found.machines
        ],
        has_hours=hours is not None,
        unreported=[name for name in silent if search.strip().casefold() in name.casefold()],
        verdicts=verdicts,
        terms=[(t, way(term="" if t.name == term else t.name)) for t in found.terms],
        groups=[(g, way(group="" if g.name == group else g.name)) for g in found.groups],
        **neighbours("/machines", asked, offset, _MACHINES_PAGE, more=found.more),
        stopped=client.alerts.machines.stopped(),
        now=datetime.now(UTC),
        report=client.alerts.alerting.report(),
        **asked,
    )


def _unreported(model: AlertModel, reports: Sequence[HealthReported]) -> list[str]:
    """The machines that are known by their alerts alone."""
    return sorted(model.alarmed() - {each.name for each in reports})


def _hours_of(healer: HealerApi, asked: dict[str, str]) -> dict[str, Any] | None:
    """The last day of each machine of this page, which only the healer knows; None without it."""
    try:
        answer = healer.glance("health-map", **asked, limit=str(_MACHINES_PAGE))
        return {each["name"]: each["hours"] for each in answer["machines"]}
    except (HealerUnavailable, HealerRefused, *_MALFORMED):
        return None


@routes.get("/machines/{name}")
def machine(client: Provided, name: str) -> HTMLResponse:
    found = client.alerts.open_of(name, _MAX_ALERTS)
    known = client.alerts.machines.report_of(name)
    if known is None and not found:
        what = f"Nothing is known of a machine {name}."
        return client.page("missing.html", 404, here="machines", what=what)
    day, has_hours = _day(client.healer, name)
    forecasts = client.alerts.forecasts_of(name, _MAX_ALERTS)
    return client.page(
        "machine.html",
        here="machines",
        name=name,
        machine=_reported(known) if known else None,
        day=day,
        has_hours=has_hours,
        report=client.alerts.alerting.report(),
        alerts=found,
        forecasts=[(each, way_of(each)) for each in forecasts],
        actions=client.alerts.actions_of(_lately(client.alerts, name), _MAX_ACTIONS),
        now=datetime.now(UTC),
        jobs=client.model.members_on(name, CALLER.get().projects),
    )


def _day(healer: HealerApi, name: str) -> tuple[tuple[Row, ...], bool]:
    """The machine's last day hour by hour, and whether the healer was there to say it."""
    try:
        past = healer.glance("health", name, "hours")
        return tuple(day_of(past["hours"])), True
    except HealerRefused:
        return (), True  # no hour of it has ended yet
    except (HealerUnavailable, *_MALFORMED):
        return (), False


@routes.post("/healing/{change}")
def switch(client: Provided, change: Literal["stop", "resume"], form: SentForm) -> Response:
    said = {"by": form.by, "reason": form.text("reason"), "hosts": form.text("hosts")}
    if not said["hosts"]:
        raise refusal(422, "say on which machines, e.g. web-*, or * for all", "hosts")
    answer = client.healer.ask("POST", "healing", change, json=said)
    client.alerts.machines.switched(said["hosts"], answer)
    return form.back(change, "/machines")


@routes.get("/rules")
def rules(
    client: Provided,
    state: StateOfRule = "",
    search: Annotated[str, Query(max_length=200)] = "",
) -> HTMLResponse:
    part = search.strip().casefold()
    found = [rule for rule in client.alerts.alerting.rules() if part in _text_of(rule)]
    counts = Counter(rule.state.value for rule in found)
    asked = {"state": state, "search": search}
    states = [("", len(found), address("/rules", {"search": search}))]
    states += [(s, counts[s], address("/rules", asked | {"state": s})) for s in _STATES]
    shown = [rule for rule in found if state in ("", rule.state.value)]
    shown.sort(key=lambda rule: (_STATES.index(rule.state.value), -rule.lift))
    seen = {"now": datetime.now(UTC), "report": client.alerts.alerting.report()}
    return client.page("rules.html", here="rules", rules=shown, states=states, **seen, **asked)


@routes.get("/audit")
def audit(
    client: Provided,
    before: Annotated[int | None, Query(ge=1)] = None,
    search: Annotated[str, Query(max_length=200)] = "",
) -> HTMLResponse:
    newest = int(client.healer.ask("GET", "audit", params={"after": 2**62}).headers["audit-number"])
    last = min(before - 1, newest) if before else newest
    first = max(0, last - (_AUDIT_SEARCHED if search else _AUDIT_PAGE))
    # The log grows for years: its later entries are not asked for.
    part = {"after": first, "limit": max(last - first, 1)}
    text = client.healer.ask("GET", "audit", params=part).text
    numbered = list(enumerate(text.splitlines()[: last - first], first + 1))[::-1]
    found = [(number, line) for number, line in numbered if _has(line, search)]
    entries = [_entry(number, line) for number, line in found[:_AUDIT_PAGE]]
    _with_sentences(client.alerts, entries)
    end = entries[-1]["number"] if len(found) > _AUDIT_PAGE else first + 1
    older = address("/audit", {"before": str(end), "search": search}) if end > 1 else None
    shown = {"entries": entries, "newest": newest, "older": older, "search": search}
    return client.page("audit.html", here="audit", before=before, first=first + 1, **shown)


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


def _lately(model: AlertModel, name: str) -> list[AlertView]:
    """The machine's alerts of the last week, the newest of them."""
    now = datetime.now(UTC)
    return model.of_machines([name], now - _LATELY, now, _MAX_ALERTS)


def _reported(health: HealthReported) -> dict[str, Any]:
    """A machine's report, with the terms that cost points apart from the many that do not."""
    costly = [term for term in health.terms if term.lost >= MIN_SHOWN_LOSS]
    fine = [term for term in health.terms if term.lost < MIN_SHOWN_LOSS]
    return dict(health) | {"costly": costly, "fine": fine}


def _text_of(rule: CorrelationChanged) -> str:
    return f"{rule.cause} {rule.effect} {rule.scope}".casefold()


def _has(line: str, words: str) -> bool:
    """Return whether an entry has the words, as they are written in JSON."""
    part = json.dumps(words.strip(), ensure_ascii=False)[1:-1].casefold()
    return part in line.casefold()


def _entry(number: int, line: str) -> dict[str, Any]:
    """An entry in its parts; what its sentence does not say is the rest."""
    entry = json.loads(line)
    at = datetime.fromisoformat(entry.pop("at"))
    entry.pop("previous", None)
    about = entry.get("about", "")
    of_alert = about if entry.get("event") in _OF_ALERTS else ""
    said = _IN_SENTENCE if has_sentence(entry) else {"event", "about"}
    rest = {name: value for name, value in entry.items() if name not in said}
    return {
        "number": number,
        "at": at,
        "entry": entry,
        "about": about,
        "alert_id": entry.get("incident_id", "") or of_alert,
        "rest": "; ".join(_filled(rest)),
        "whole": json.dumps(entry, indent=1, ensure_ascii=False)[:_LONGEST_ENTRY],
    }


def _with_sentences(model: AlertModel, entries: list[dict[str, Any]]) -> None:
    """Add each entry's sentence, in which an alert has its name."""
    found = model.known([each["alert_id"] for each in entries if each["alert_id"]])
    names = {alert.alert_id: f"{alert.item} on {alert.host}" for alert in found}
    for each in entries:
        each["known"] = each["alert_id"] in names
        each["sentence"] = sentence(each["entry"], names.get(each["alert_id"], ""))


def _filled(entry: Mapping[str, Any]) -> Iterator[str]:
    """The fields that say something, those of parts among them; lists by their length."""
    for name, value in entry.items():
        if isinstance(value, Mapping):
            yield from _filled(value)
        elif isinstance(value, list):
            yield f"{len(value)} {name}"
        elif value not in ("", None, False, 0):
            yield f"{name.replace('_', ' ')}: {value}"
