"""What people decide on the pages has its effect in the healer: a real stack, a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from shared.contracts.message import deterministic_id
from shared.embedded.stack import MODULES, Stack
from shared.messaging import Bus
from shared.topology import Principal
from tests.alert_desk import ALERTING, alarm, published
from tests.browser.test_alert_pages import _CONTRAST, dark, wide
from tests.browser.test_page import Browser, until
from tests.unit.client.alerts.events import action

PAGES = ("/silences", "/silences/new", "/machines", "/ledger", "/rules", "/audit", "/channels")
_WAIT_S = 120
ACTION = deterministic_id("an action that waits")


class Console:
    """Client and healer, a browser in which Ann has signed in, and three alarms."""

    def __init__(self, folder: Path) -> None:
        env = {"BAROGRAPH_HEALER_ALERTING": json.dumps(ALERTING)}
        modules = {name: MODULES[name] for name in ("client", "healer")}
        self.stack = Stack(folder / "stack", env=env, modules=modules)
        self.stack.start()
        self.url = self.stack.file.client_url
        headers = {"Authorization": f"Bearer {self.stack.file.healer_token}"}
        self.healer = httpx.Client(base_url=self.stack.file.healer_url, headers=headers, timeout=30)
        self.browser = Browser()
        self.browser.start()

    def sign_in(self, name: str) -> None:
        self.browser.open(f"{self.url}/login")
        self.fill("token", self.stack.file.client_token)
        self.fill("name", name)
        self.press("Enter")
        until(lambda: f"Signed in as {name}" in self.browser.text(), 60)

    def alarms(self, *hosts: str) -> None:
        bus = Bus(self.stack.file.broker_urls["detector"], Principal.DETECTOR, "console")
        bus.start(consume=False)
        bus.wait_ready()
        until(lambda: published(bus, *(alarm(host, "cpu.user") for host in hosts)), _WAIT_S)
        bus.stop()

    def fill(self, name: str, text: str) -> None:
        self.browser.run(
            f"document.querySelector('main [name={name}]').value = {json.dumps(text)}; return 1"
        )

    def choose(self, *hosts: str) -> None:
        for host in hosts:
            label = json.dumps(f'[aria-label="Choose cpu.user on {host}"]')
            assert self.browser.run(f"document.querySelector({label}).click(); return 1")

    def press(self, words: str) -> None:
        found = self.browser.run(
            "const b = [...document.querySelectorAll('main button')]"
            f".find((b) => b.textContent === {json.dumps(words)}); b?.click(); return !!b"
        )
        assert found, f"no button {words}"

    def ask(self, path: str) -> Any:
        return self.healer.get(f"/api/v1/{path}").raise_for_status().json()

    def audited(self) -> list[dict[str, Any]]:
        text = self.healer.get("/api/v1/audit").raise_for_status().text
        return [json.loads(line) for line in text.splitlines()]

    def stop(self) -> None:
        self.browser.stop()
        self.healer.close()
        self.stack.stop()


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    made = Console(tmp_path_factory.mktemp("console"))
    try:
        made.alarms("h1", "h2", "h3")
        made.sign_in("Ann")
        until(lambda: _shows(made, "/alerts", "h1", "h2", "h3"), _WAIT_S)
        yield made
    finally:
        made.stop()


def _shows(console: Console, path: str, *words: str) -> bool:
    console.browser.open(console.url + path)
    text = console.browser.text()
    return all(word in text for word in words)


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
    until(lambda: "The silence holds." in console.browser.text(), 60)
    (made,) = console.ask("silences")
    assert (made["owner"], made["reason"]) == ("Ann", "the disk is replaced")
    console.browser.open(f"{console.url}/silences")
    assert "the disk is replaced" in console.browser.text()
    console.press("End")
    until(lambda: "The silence has ended" in console.browser.text(), 60)


def test_what_cannot_be_silenced_is_said_and_what_was_typed_stays(console: Console) -> None:
    console.browser.open(f"{console.url}/silences/new")
    console.fill("matchers", 'host=~"["')
    console.fill("hours", "2")
    console.fill("reason", "x")
    console.press("Preview")
    until(lambda: console.browser.count(".fault") > 0, 20)
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
    until(lambda: _shows(console, incident, "waits for a decision"), 60)
    console.press("Approve")
    until(lambda: "Approved" in console.browser.text(), 60)
    console.press("Not an anomaly")
    until(lambda: "Noted as not an anomaly" in console.browser.text(), 60)

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
    console.press("Stop all actions there")
    until(lambda: "Healing is stopped on h2" in console.browser.text(), 60)
    assert [s["hosts"] for s in console.ask("healing")] == ["h2"]
    console.press("Let it go on")
    until(lambda: "Healing goes on there." in console.browser.text(), 60)
    assert console.ask("healing") == []


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
                browser.picture(tmp_path / f"{page.replace('/', '-')}-{scheme}-{width}.png")
                assert browser.log() == []
                assert browser.count("main h1") == 1
                wider = "return document.documentElement.scrollWidth - window.innerWidth"
                assert browser.run(wider) <= 0
                assert browser.run(_CONTRAST) == []
                assert browser.run(_UNNAMED) == []
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride")
        browser.command("Emulation.setEmulatedMedia", features=[])


_UNNAMED = """
return [...document.querySelectorAll("input:not([type=hidden]), select, textarea, button, a[href]")]
  .filter((each) => !(each.labels?.length || each.getAttribute("aria-label")
    || each.textContent.trim() || each.querySelector("img[alt]")))
  .map((each) => each.outerHTML.slice(0, 120));
"""
"""Controls that a screen reader has no name for."""


def test_a_form_of_another_session_or_page_changes_nothing(console: Console) -> None:
    def client() -> httpx.Client:
        return httpx.Client(base_url=console.url, timeout=30, trust_env=False)

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
            httpx.post(f"{console.url}/healing/stop", headers=token, data=form).status_code == 403
        )
        assert console.ask("healing") == []
