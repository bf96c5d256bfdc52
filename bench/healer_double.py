"""A healer that knows many machines and decisions, for the console's pages.

It answers the questions that the pages ask over HTTP with what it was made with, and keeps nothing.
``python -m bench.healer_double MACHINES ALERT TIME`` serves it in a process of its own, whose
processor time is not the pages': it prints its address, and ends when its input does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from shared.contracts import HealthReported, HealthTerm
from shared.health_map import Hour, MapWanted, health_map, with_hours
from shared.service.http import HttpServer

AUDITED = 5_000
_COSTS = (
    ("disk used", 31.0, "df.bytes.used.percent mount=/var is 93 %: 31 points"),
    ("memory used", 12.0, "mem.memused.percent is 91 %: 12 points"),
    ("load", 4.5, "load.1min.percore is 2.6: 4.5 points"),
    ("open alarms", 15.0, "1 critical alarm is open: 15 points"),
)
_FINE = ("clock offset", "open files", "swap used", "inodes used", "zombies")


def healer_double(machines: list[str], alert_id: str, now: datetime) -> Starlette:
    """The application; ``alert_id`` is the alert that its audit log and narrative are about."""
    health = {name: health_of(name, n, now) for n, name in enumerate(machines)}
    groups = [health_of(name, n, now, scope="group") for n, name in enumerate(groups_of(machines))]

    def on_map(request: Request) -> Any:
        asked = request.query_params
        wanted = MapWanted(verdict=asked["verdict"], search=asked["search"], term=asked["term"])
        found = health_map(health.values(), groups, wanted, int(asked["offset"]), 300)
        hours = {each.name: _hours(each.name, now) for each in found.machines}
        return with_hours(found, hours).model_dump(mode="json")

    answers: dict[str, Callable[[Request], Any]] = {
        "alerts/{alert_id}/narrative": lambda _: _narrative(now),
        "channels": lambda _: _channels(now),
        "health-map": on_map,
        "health/{name}/hours": lambda asked: _past(asked.path_params["name"], now),
        "reachability": lambda _: {"problems": ["Channel pager has failed since 09:12 UTC."]},
        "notifications": lambda asked: _notifications(asked.query_params.getlist("alert_id"), now),
    }
    routes = [Route(f"/api/v1/{path}", _answering(told)) for path, told in answers.items()]
    return Starlette(routes=[*routes, Route("/api/v1/audit", _audit(alert_id, now))])


def _answering(told: Callable[[Request], Any]) -> Callable[[Request], Response]:
    def answer(request: Request) -> Response:
        return JSONResponse(told(request))

    return answer


def groups_of(machines: list[str]) -> list[str]:
    """The groups of machines, by the beginning of their names."""
    return sorted({name.rpartition("-")[0] for name in machines})


def health_of(name: str, number: int, now: datetime, scope: str = "machine") -> HealthReported:
    """The health of a machine or group, which depends on its number."""
    costs = _COSTS[: (0, 0, 0, 1, 0, 2, 4)[number % 7]]
    score = 100 - sum(lost for _, lost, _ in costs)
    terms = [HealthTerm(name=term, lost=lost, sentence=text) for term, lost, text in costs]
    terms += [HealthTerm(name=term, lost=0, sentence=f"the {term} is normal") for term in _FINE]
    fields = {
        "scope": scope,
        "name": name,
        "score": score,
        "verdict": "healthy" if score >= 80 else "watch" if score >= 50 else "sick",
        "terms": terms,
        "trend": (0.0, -1.5, 0.4)[number % 3],
        "first": costs[0][2] if costs else "",
        "usage": "idle" if number % 5 == 0 else "normal",
        "advice": "Its CPU was never above 8 % within a day." if number % 5 == 0 else "",
        "machines": 25 if scope == "group" else 1,
        "at": now,
    }
    return HealthReported.model_validate(fields)


def _hours(name: str, now: datetime) -> list[Hour]:
    newest, lost = round(now.timestamp()) // 3600, len(name) % 3
    return [
        Hour(newest - 24 + n, 95.0 - lost * n, cpu=20.0 + 3 * n, memory=50.0 + n) for n in range(24)
    ]


def _past(name: str, now: datetime) -> dict[str, Any]:
    return {"name": name, "hours": [asdict(hour) for hour in _hours(name, now)]}


def _narrative(now: datetime) -> dict[str, Any]:
    told = (
        ("predicted", "will reach 80 % between 14:10 and 17:30 (90 %)"),
        ("planned", "clean-logs: 3 steps, would free 3.1 GB"),
        ("approved", "approved by Ann"),
        ("done", "clean-logs on h7: freed 3.1 GB"),
        ("verified", "the value fell from 81.5 % to 58 %"),
    )
    facts = [
        {
            "at": (now - timedelta(minutes=90 - n)).isoformat(),
            "kind": told[n % len(told)][0],
            "sentence": told[n % len(told)][1],
            "deliveries": [
                {"channel": "mail", "recipient": "ops@x", "status": "sent", "problem": ""}
            ],
        }
        for n in range(60)
    ]
    opening = "The file system /var on h7 is out of danger: 81.5 % → 58 %. Nothing is to be done."
    held = {"notification": "notified", "held_by": "", "until": None}
    evidence = [
        {
            "title": title,
            "rows": [
                {"columns": {"size": f"{90 - n} MiB", "path": f"/var/log/{n}"}} for n in range(50)
            ],
            "truncated": True,
        }
        for title in ("Largest files below /var", "Deleted files still open", "Kernel messages")
    ]
    return {"opening": opening, "facts": facts, "evidence": evidence} | held


def _channels(now: datetime) -> list[dict[str, Any]]:
    def channel(name: str, kind: str, sent: Any = None, failing: Any = None) -> dict[str, Any]:
        times = {"last_sent": sent, "failing_since": failing}
        return {"name": name, "type": kind, "recipients": 3} | times

    earlier = (now - timedelta(minutes=12)).isoformat()
    return [
        channel("mail", "smtp", earlier),
        channel("pager", "webhook", None, earlier),
        channel("chat", "slack"),
    ]


def _notifications(alert_ids: list[str], now: datetime) -> dict[str, Any]:
    until = (now + timedelta(hours=2)).isoformat()
    held = {"status": "held", "held_by": "silence s1", "until": until}
    notified = {"status": "notified", "held_by": "", "until": None}
    return {alert_id: held if n % 5 == 0 else notified for n, alert_id in enumerate(alert_ids)}


def _audit(alert_id: str, now: datetime) -> Callable[[Request], Response]:
    def line(number: int) -> str:
        event = ("decided", "incident.acknowledge", "action done", "silence made")[number % 4]
        entry = {
            "at": (now - timedelta(minutes=AUDITED - number)).astimezone(UTC).isoformat(),
            "previous": "0" * 64,
            "event": event,
            "by": ("", "Ann")[number % 2],
            "about": alert_id,
            "reason": "disk above 80 %",
            "remediation": "clean-logs",
            "matchers": 'host="h7"',
            "steps": [{"command": f"rm /var/log/app-{n}.log.gz"} for n in range(6)],
        }
        return json.dumps(entry)

    def audit(request: Request) -> Response:
        after = int(request.query_params.get("after", 0))
        lines = [line(number + 1) for number in range(min(after, AUDITED), AUDITED)]
        headers = {"audit-number": str(AUDITED)}
        return PlainTextResponse("\n".join(lines), headers=headers)

    return audit


def machines_of(many: int) -> list[str]:
    """The names of so many machines of each kind."""
    return [f"{kind}-{n}" for n in range(many) for kind in ("web", "db")]


def main(many: str, alert_id: str, now: str) -> None:
    """Serve until the input ends."""
    double = healer_double(machines_of(int(many)), alert_id, datetime.fromisoformat(now))
    server = HttpServer(double, "127.0.0.1", 0)
    server.start()
    print(server.url, flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main(*sys.argv[1:])
