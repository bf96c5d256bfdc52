"""Bodies that are small and cost much: the healer counts what is in one before it is validated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

from services.healer.api.guard import Guard
from services.healer.correlation.recorded import Recorded
from services.healer.incidents.alert_bodies import MAX_ALERTS, readable
from services.healer.incidents.alertmanager_alerts import OutsideAlert
from tests.hostile.fuzz.web import Site, _healer


@pytest.fixture
def site() -> Iterator[Site]:
    made = _healer(token=True)
    yield made
    made.close()


def posted(site: Site, path: str, body: bytes) -> int:
    parts = (b"POST", path.encode(), b"", b"content-type:application/json", body)
    return site._loop.run_until_complete(site._asked(site._scope(parts), body))


@pytest.mark.parametrize("path", ["/api/v1/silences", "/api/v1/healing/stop", "/api/v1/x"])
def test_a_body_of_many_values_is_refused_before_any_route_sees_it(path: str, site: Site) -> None:
    """Half a million wrong ones took a gigabyte: each becomes a fault with its own text."""

    async def never(*_: Any) -> None:
        raise AssertionError("the application was asked")

    site._app = Guard(never, frozenset({"127.0.0.1"}), "right")
    assert posted(site, path, b'{"matchers":[' + b",".join([b"1"] * 400_000) + b"]}") == 422
    assert posted(site, path, b'{"matchers":' + b"[" * 400_000 + b"]" * 400_000 + b"}") == 422
    assert posted(site, path, b'{"matchers":"' + b"x" * 1_000_000 + b'"}') == 413


def test_as_many_alerts_as_one_request_may_have_are_taken(site: Site) -> None:
    alert = {"labels": {f"label_{n}": "a value of some length" for n in range(20)}}
    body = json.dumps([alert] * MAX_ALERTS).encode()
    assert len(body) < 10_000_000
    assert posted(site, "/api/v2/alerts", json.dumps([alert] * 100).encode()) == 200
    assert posted(site, "/api/v2/alerts", b"[" + b" " * 10_000_000 + b"]") == 413


def test_a_day_of_many_recorded_metrics_is_taken_and_has_one_fault_a_metric(site: Site) -> None:
    minutes = [[60.0 * n, float(n % 7)] for n in range(1_440)]
    good = {"metrics": {f"m{n}": minutes for n in range(40)}, "alarms": [40_000.0]}
    assert posted(site, "/api/v1/associations", json.dumps(good).encode()) == 200
    bad = {"metrics": {f"m{n}": [["x", "y"]] * 20_000 for n in range(5)}, "alarms": ["z"] * 50_000}
    with pytest.raises(ValidationError) as refused:
        Recorded.model_validate(bad)
    assert refused.value.error_count() <= 12
    assert posted(site, "/api/v1/associations", json.dumps(bad).encode()) == 422


def test_the_faults_of_one_alert_are_as_few_as_its_labels_may_be() -> None:
    found, faults = readable([{"labels": {f"k{n}": [1] for n in range(100_000)}}])
    assert found == []
    assert [fault.problem for fault in faults] == ["must have at most 1000 names"]


def test_the_faults_of_many_alerts_are_counted_and_the_first_of_them_named() -> None:
    bad = {"labels": {f"k{n}": [1] for n in range(500)}}
    _, faults = readable([bad] * 10)
    assert len(faults) == 1_001
    assert faults[-1].problem == "and 4000 further faults"


def test_an_alert_is_not_lost_because_of_its_annotations() -> None:
    notes: dict[str, object] = {"summary": "91 % used"}
    notes |= {f"k{n}": [n] for n in range(100_000)}
    alert = OutsideAlert.model_validate({"labels": {"alertname": "a"}, "annotations": notes})
    assert alert.annotations["summary"] == "91 % used"
    assert len(alert.annotations) == 1_000
