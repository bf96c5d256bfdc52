"""The health map: what it lists, counts and leaves out, and the hours that it shows."""

from __future__ import annotations

from datetime import UTC, datetime

from services.healer.health.records import PASTS, Past, keep
from shared.contracts import HealthReported, HealthTerm
from shared.health_map import Hour, MapWanted, health_map
from tests.unit.healer.test_api import Door

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def report(name: str, scope: str = "machine", **lost: float) -> HealthReported:
    score = 100 - sum(lost.values())
    verdict = "healthy" if score >= 80 else "watch" if score >= 50 else "sick"
    terms = [HealthTerm(name=n, lost=p, sentence=f"{n} of {name}") for n, p in lost.items()]
    told = {"scope": scope, "name": name, "score": score, "verdict": verdict, "at": NOW}
    return HealthReported.model_validate(told | {"terms": terms, "first": "the first thing"})


FLEET = [report("Web-1", disk=30.0, cpu=1.0), report("web-2", cpu=5.0), report("db-1", disk=60.0)]
FLEET += [report("db-2", disk=0.01)]


def shown(limit: int = 10, offset: int = 0, **wanted: str) -> list[str]:
    found = health_map(FLEET, [], MapWanted(**wanted), offset, limit)
    return [machine.name for machine in found.machines]


def test_the_worst_come_first_and_those_that_lose_most_by_a_wanted_term() -> None:
    assert shown() == ["db-1", "Web-1", "web-2", "db-2"]
    assert shown(term="cpu") == ["web-2", "Web-1"]
    assert shown(term="disk") == ["db-1", "Web-1"], "a hundredth of a point is none"
    found = health_map(FLEET, [], MapWanted(term="cpu"), 0, 1)
    assert (found.machines[0].first, found.machines[0].lost) == ("cpu of web-2", 5.0)
    assert found.more


def test_names_groups_and_verdicts_narrow_it_and_the_counts_stay_those_of_all_verdicts() -> None:
    assert shown(search="WEB") == ["Web-1", "web-2"]
    assert shown(hosts="db-*") == ["db-1", "db-2"]
    assert shown(hosts="db-*", verdict="sick") == ["db-1"]
    found = health_map(FLEET, [], MapWanted(hosts="db-*", verdict="sick"), 0, 10)
    assert found.verdicts == {"sick": 1, "healthy": 1}
    assert [(t.name, t.machines, t.lost) for t in found.terms] == [("disk", 1, 60.0)]
    assert shown(limit=2, offset=1) == ["Web-1", "web-2"]


def test_the_map_over_http_has_groups_and_hours_and_refuses_an_unknown_group() -> None:
    door = Door()
    with door.desk.store.transaction() as records:
        keep(records, [*FLEET, report("all", "group", disk=3.0)])
        records.put(PASTS, Past(name="db-1", hours=(Hour(491_000, 40.0, 12.0, None),)))
    found = door.http.get("/api/v1/health-map", params={"search": "1"}).json()
    assert [(m["name"], len(m["hours"])) for m in found["machines"]] == [("db-1", 1), ("Web-1", 0)]
    assert [(g["name"], g["score"]) for g in found["groups"]] == [("all", 97.0)]
    assert door.http.get("/api/v1/health/db-1").json()["terms"][0]["lost"] == 60.0
    assert door.http.get("/api/v1/health/nobody").status_code == 404
    unknown = door.http.get("/api/v1/health-map", params={"group": "nobody"})
    assert (unknown.status_code, "no group" in unknown.text) == (404, True)
