"""What people decide on the pages has its effect in the healer: a real stack, a real browser."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.contracts.message import deterministic_id
from shared.messaging import Bus
from shared.topology import Principal
from tests.browser.axe import violations
from tests.browser.console import WAIT_S, Console
from tests.browser.test_alert_pages import dark, named, wide
from tests.browser.test_page import until
from tests.unit.client.alerts.events import action

SERIES = "/metrics/series?host=db1&item=df.bytes.used.percent&label=mount%3D%2Fvar"
PAGES = (
    "/alerts",
    "/jobs",
    "/silences",
    "/silences/new",
    "/machines",
    "/machines/db1",
    "/machines/h2",
    "/metrics",
    SERIES,
    "/ledger",
    "/ledger/cases?outcome=hit",
    "/rules",
    "/audit",
    "/settings",
    "/submit",
    "/channels",
)
ACTION = deterministic_id("an action that waits")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    made = Console(tmp_path_factory.mktemp("console"))
    try:
        made.alarms("h1", "h2", "h3")
        made.history("db1", 4)
        made.sign_in("Ann")
        until(lambda: _shows(made, "/alerts", "h1", "h2", "h3"), WAIT_S)
        yield made
    finally:
        made.stop()


def _shows(console: Console, path: str, *words: str) -> bool:
    console.browser.open(console.url + path)
    text = console.browser.text()
    return all(word in text for word in words)


def _hours(console: Console, path: str) -> int:
    console.browser.open(console.url + path)
    return console.browser.count("table.hours tbody tr:first-child td")


def test_many_alerts_are_acknowledged_at_once(console: Console) -> None:
    console.browser.open(f"{console.url}/alerts")
    console.choose("h1", "h2")
    console.press("Acknowledge")
    until(lambda: console.browser.text().count("acknowledged by Ann") == 2, 60)
    taken = {a["labels"]["host"] for a in console.ask("alerts") if a["acknowledged"]}
    assert taken == {"h1", "h2"}


def test_an_alert_is_silenced_after_a_preview(console: Console, tmp_path: Path) -> None:
    console.browser.open(f"{console.url}/alerts?host=h3")
    console.choose("h3")
    console.press("Silence…")
    until(lambda: "New silence" in console.browser.text(), 60)
    assert 'host="h3"' in console.browser.run("return document.querySelector('textarea').value")
    console.fill("reason", "the disk is replaced")
    console.press("Preview")
    until(lambda: "1 open alert" in console.browser.text(), 60)
    assert console.ask("silences") == [], "a preview silences nothing"
    console.browser.picture(tmp_path / "preview.png")
    console.press("Silence")
    until(lambda: "The silence is active." in console.browser.text(), 60)
    (made,) = console.ask("silences")
    assert (made["owner"], made["reason"]) == ("Ann", "the disk is replaced")
    console.browser.open(f"{console.url}/silences")
    assert "the disk is replaced" in console.browser.text()
    console.press("Expire")
    until(lambda: "The silence has expired" in console.browser.text(), 60)


def test_what_cannot_be_silenced_is_said_and_what_was_typed_stays(console: Console) -> None:
    console.browser.open(f"{console.url}/silences/new")
    console.fill("matchers", 'host=~"["')
    console.fill("hours", "2")
    console.fill("reason", "x")
    console.press("Preview")
    until(lambda: console.browser.count(".fault") > 0)
    assert console.browser.run("return document.querySelector('textarea').value") == 'host=~"["'


def test_not_an_anomaly_and_an_approval_reach_the_healers_audit(console: Console) -> None:
    alert = next(a for a in console.ask("alerts") if a["labels"]["host"] == "h1")
    bus = Bus(console.stack.file.broker_urls["healer"], Principal.HEALER, "console")
    bus.start(consume=False)
    bus.wait_ready()
    ids = {"action_id": ACTION, "incident_id": alert["incident_id"], "level": "approve"}
    bus.publish([action(1, "proposed", expires=None, **ids)])
    bus.stop()
    incident = f"/alerts/{alert['incident_id']}"
    until(lambda: _shows(console, incident, "awaiting approval"), 60)
    console.press("Approve")
    until(lambda: "Approved" in console.browser.text(), 60)
    console.press("Not an anomaly")
    until(lambda: "Recorded as not an anomaly" in console.browser.text(), 60)

    def entries() -> dict[str, dict[str, Any]]:
        return {e["event"]: e for e in console.audited() if e.get("by") == "Ann"}

    until(lambda: {"action decide", "anomaly.judge"} <= entries().keys(), 60)
    told = entries()
    assert (told["action decide"]["about"], told["action decide"]["approve"]) == (ACTION, True)
    assert told["anomaly.judge"]["about"] == alert["incident_id"]
    assert told["anomaly.judge"]["anomaly"] is False


def test_healing_is_stopped_on_a_machine_and_goes_on(console: Console) -> None:
    console.browser.open(f"{console.url}/machines")
    console.fill("hosts", "h2")
    console.press("Stop healing")
    until(lambda: "Healing is stopped on h2" in console.browser.text(), 60)
    assert [s["hosts"] for s in console.ask("healing")] == ["h2"]
    console.press("Resume healing")
    until(lambda: "Healing is resumed there." in console.browser.text(), 60)
    assert console.ask("healing") == []


def test_a_series_is_found_and_shown_as_its_models_see_it(console: Console) -> None:
    browser = console.browser
    until(lambda: _shows(console, "/metrics?search=db1", "df.bytes.used.percent"), WAIT_S)
    console.press_link("df.bytes.used.percent")
    until(lambda: browser.count("#curve") == 1, 60)
    whole = browser.run("return location.href")
    # The predictor compiles its code before its first forecast: until then it is said to be late.
    until(lambda: _shows(console, SERIES, "probability"), 3 * WAIT_S)
    assert whole.endswith(SERIES)
    assert browser.count("svg.plot polyline.mean") == 1
    text = browser.text()
    assert "surprise" in text
    line = "return document.querySelector('svg.plot polyline.value').points.length"
    assert browser.run(line) > 90, "hourly means of four days, then the values of the last hours"
    browser.run("[...document.querySelectorAll('nav.ways a')][1].click()")
    until(lambda: "from=" in browser.run("return location.href"))
    assert 2 < browser.run(line) < 70
    browser.open(whole)
    console.fill("threshold", "55")
    console.press("Try it")
    until(lambda: "With 55 % it would have fired" in browser.text())


def test_a_series_is_a_table_for_programs(console: Console) -> None:
    headers = {"Authorization": f"Bearer {console.stack.file.client_token}"}
    with httpx.Client(base_url=f"{console.url}/api/v1", headers=headers, timeout=60) as http:
        found = http.get("/series", params={"search": "VAR"}).raise_for_status().json()
        assert (found["complete"], found["more"]) == (True, False)
        (series,) = found["series"]
        assert series["labels"] == {"mount": "/var"}
        asked = {"host": "db1", "item": series["item"], "label": "mount=/var"}
        rows = http.get("/curve.csv", params=asked).raise_for_status().text.splitlines()
        kinds = {row.partition(",")[0] for row in rows[1:]}
        assert kinds == {"mean", "value", "usual", "forecast"}
        assert http.get("/curve", params=asked | {"host": "db2"}).status_code == 404
        assert http.get("/curve", params=asked | {"label": "mount"}).status_code == 422


def test_every_service_tells_its_settings_and_no_secret(console: Console) -> None:
    until(lambda: _shows(console, "/settings", "detector", "predictor", "healer"), WAIT_S)
    text = console.browser.run("return document.querySelector('main').textContent")
    assert "BAROGRAPH_HEALER_ALERTING" in text
    file = console.stack.file
    secrets = (file.client_token, file.healer_token, file.gateway_token, file.s3_secret_key)
    passwords = [url.split("@")[0].split(":")[-1] for url in file.broker_urls.values()]
    assert not [each for each in (*secrets, *passwords) if each in text]


def test_a_folder_is_submitted_from_the_page_and_its_result_is_there(
    console: Console, tmp_path: Path
) -> None:
    folder = tmp_path / "digits"
    (folder / "code").mkdir(parents=True)
    program = (
        "import os, pathlib\n"
        "pathlib.Path(os.environ['BAROGRAPH_MODEL_DIR'], 'w.txt').write_text('7')"
    )
    (folder / "code" / "train.py").write_text(program)
    browser = console.browser
    browser.open(f"{console.url}/submit")
    browser.choose_file("[data-folder]", folder)
    until(lambda: "uploaded, " in browser.text(), 60)
    console.fill("name", "digits")
    console.fill("main", "train.py")
    assert browser.run(
        "return document.querySelector('#submit').elements['resources.memory'].value = '256Mi'"
    )
    console.press("Show the plan")
    until(lambda: "The plan" in browser.text() or browser.count(".fault"), 60)
    assert not browser.count(".fault"), browser.text()
    browser.picture(tmp_path / "plan-light.png")
    console.press("Submit")
    until(lambda: "succeeded" in browser.text(), WAIT_S)
    until(lambda: "model/w.txt" in browser.text())
    browser.picture(tmp_path / "job-light.png")
    assert browser.run("return document.querySelector('a[download]').href").endswith("model/w.txt")
    console.press_link("Run again…")
    until(lambda: browser.count("input[name=main][value='train.py']") == 1)


def test_a_machines_page_says_what_costs_it_points_hour_by_hour(console: Console) -> None:
    until(lambda: _shows(console, "/machines", "db1"), WAIT_S)
    # Its history is told an hour at a time, which the healer may still be reading.
    until(lambda: _hours(console, "/machines/db1") > 12, 60)
    text = console.browser.text()
    assert "What lowers the score" in text
    assert "sys.ntpd.offset is 3" in text
    console.press_link("Metrics")
    until(lambda: console.browser.count("main tbody tr") == 2)
    assert _shows(console, "/machines/h2", "health has not been reported yet", "too many")


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_readable_in_any_width_and_light(
    console: Console, page: str, tmp_path: Path
) -> None:
    browser = console.browser
    try:
        for scheme in ("light", "dark"):
            if scheme == "dark":
                dark(browser)
            for width in (390, 1280):
                wide(browser, width)
                browser.log()
                browser.open(console.url + page)
                browser.picture(tmp_path / f"{named(page)}-{scheme}{'-narrow' * (width < 500)}.png")
                assert browser.log() == []
                assert browser.count("main h1") == 1
                wider = "return document.documentElement.scrollWidth - window.innerWidth"
                assert browser.run(wider) <= 0
                assert violations(browser) == []
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride")
        browser.command("Emulation.setEmulatedMedia", features=[])


def test_a_named_token_is_made_used_and_revoked_on_the_command_line(console: Console) -> None:
    def tokens(*arguments: str) -> str:
        command = [sys.executable, "-m", "shared.cli", "tokens", *arguments]
        state = ["--state", str(console.stack.state)]
        done = subprocess.run([*command, *state], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    bearer = {"Authorization": f"Bearer {tokens('create', 'Vera', '--role', 'operator').strip()}"}
    with httpx.Client(base_url=console.url, headers=bearer, timeout=60, trust_env=False) as http:
        assert http.get("/api/v1/series").status_code == 200
        assert http.get("/settings").status_code == 403
        (row,) = json.loads(tokens("list", "--json"))
        assert (row["name"], row["role"]) == ("Vera", "operator")
        tokens("revoke", row["id"])
        assert http.get("/api/v1/series").status_code == 401


def test_a_form_of_another_session_or_page_changes_nothing(console: Console) -> None:
    def client() -> httpx.Client:
        return httpx.Client(base_url=console.url, timeout=60, trust_env=False)

    with client() as bob, client() as eve:
        for http, name in ((bob, "Bob"), (eve, "Eve")):
            told = {"token": console.stack.file.client_token, "name": name}
            assert http.post("/login", data=told).status_code == 303
        found = re.search(r'name="csrf" value="(\w+)"', eve.get("/silences/new").text)
        assert found
        form = {"csrf": found[1], "hosts": "*"}
        foreign = {"Origin": "https://evil.example"}
        assert bob.post("/healing/stop", data=form).status_code == 403
        assert bob.post("/healing/stop", data={"hosts": "*"}).status_code == 403
        assert eve.post("/healing/stop", data=form, headers=foreign).status_code == 403
        token = {"Authorization": f"Bearer {console.stack.file.client_token}"}
        assert (
            httpx.post(
                f"{console.url}/healing/stop", headers=token, data=form, timeout=60
            ).status_code
            == 403
        )
        assert console.ask("healing") == []
