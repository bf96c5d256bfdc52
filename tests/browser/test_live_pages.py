"""Every page of a real stack shows what happens while it is open, and what is done there happens.

The pages refresh every few seconds or minutes; here their clock runs faster, the product is as
it is.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from shared.contracts.message import deterministic_id
from shared.topology import Principal
from tests.browser.axe import violations
from tests.browser.console import WAIT_S, Console
from tests.browser.live_story import (
    RULE,
    Event,
    Receiver,
    Story,
    a_job,
    a_prediction,
    a_report,
    a_rule,
    a_series,
    a_silence,
    a_value,
    a_worse_report,
    an_action,
    an_alert,
    an_effect,
)
from tests.browser.test_alert_pages import dark, wide
from tests.browser.test_page import until
from tests.unit.client.alerts.events import changed, verified

_FASTER = "const late = setTimeout; window.setTimeout = (f, ms) => late(f, Math.min(ms, 700))"
SERIES = "/metrics/series?host=live-series&item=cpu.user"
LIVE: tuple[tuple[str, Event, str], ...] = (
    ("/alerts", an_alert, "live-host"),
    ("/alerts/ALERT", an_action, "live-target"),
    ("/forecasts", a_prediction, "live-forecast"),
    ("/ledger/cases?outcome=repaired", an_effect, "live-effect"),
    ("/machines", a_report, "live-machine"),
    ("/machines/live-machine", a_worse_report, "the disk is live"),
    ("/rules", a_rule, "live.effect"),
    ("/silences", a_silence, "a live one"),
    ("/judgements", lambda story: story.judged(anomaly=False), "a live judgement"),
    ("/audit", lambda story: story.judged(anomaly=True), "an anomaly after all"),
    ("/metrics", a_series, "live-series"),
    (SERIES, a_value, "77.2"),
    ("/jobs", a_job, "live-job"),
)
"""The page, what happens, and the words that show by themselves."""


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    receiver = Receiver()
    hook = {"name": "hook", "type": "webhook", "url": receiver.url}
    console = Console(tmp_path_factory.mktemp("live"), channels=[hook])
    try:
        console.alarms("h1")
        console.sign_in("Ann")
        until(lambda: console.ask("alerts"), WAIT_S)
        console.browser.command("Page.addScriptToEvaluateOnNewDocument", source=_FASTER)
        yield Story(console, receiver)
    finally:
        console.stop()
        receiver.stop()


def _opened(story: Story, page: str) -> str:
    browser = story.console.browser
    browser.open(story.console.url + page.replace("ALERT", story.alert))
    return text(story)


def text(story: Story) -> str:
    """What the page says, folded parts included."""
    return str(story.console.browser.run("return document.querySelector('main').textContent"))


@pytest.mark.parametrize(("page", "event", "words"), LIVE, ids=[page for page, *_ in LIVE])
def test_an_open_page_shows_what_happens_by_itself(
    story: Story, page: str, event: Event, words: str
) -> None:
    assert words not in _opened(story, page)
    event(story)
    until(lambda: words in text(story), WAIT_S)


@pytest.mark.parametrize("page", ["/", "/wall"])
def test_overview_and_wall_show_by_themselves_what_needs_a_person(story: Story, page: str) -> None:
    host = f"urgent-{len(page)}"
    assert host not in _opened(story, page)
    series = {"host": host, "item": "a.first.item", "labels": {}}
    first = datetime.now(UTC) - timedelta(days=1)
    event = changed(1, "firing", alert_id=deterministic_id(host), series=series, at=first)
    story.says(Principal.HEALER, event)
    until(lambda: host in text(story), WAIT_S)


def test_the_ledger_counts_an_effect_by_itself(story: Story) -> None:
    figures = "return [...document.querySelectorAll('dl.figures dd')].map((e) => e.textContent)"
    _opened(story, "/ledger")
    before = story.console.browser.run(figures)
    series = {"host": "counted", "item": "df.bytes.used.percent", "labels": {}}
    ids = {"incident_id": story.alert, "command_id": deterministic_id("another action")}
    story.says(Principal.HEALER, verified(series=series, at=datetime.now(UTC), **ids))
    until(lambda: story.console.browser.run(figures) != before, WAIT_S)


def test_the_channels_show_by_themselves_when_one_succeeded_last(story: Story) -> None:
    newest = "return document.querySelector('[data-label=\"Last success\"] time')?.dateTime ?? ''"
    _opened(story, "/channels")
    before = story.console.browser.run(newest)
    story.console.alarms("another-host")
    until(lambda: story.console.browser.run(newest) > before, WAIT_S)


def test_a_test_is_sent_over_a_channel(story: Story) -> None:
    _opened(story, "/channels")
    before = json.dumps(story.receiver.told).count("Somebody tests this channel")
    button = "document.querySelector('[aria-label=\"Send a test over hook\"]')"
    story.console.browser.run(f"{button}.click(); return 1")
    until(lambda: "The channel accepted a test notice" in text(story), 60)
    assert json.dumps(story.receiver.told).count("Somebody tests this channel") > before


def test_a_judgement_is_undone_on_its_page(story: Story) -> None:
    story.judged(anomaly=False)
    until(lambda: "Undo" in _opened(story, "/judgements?search=live"), WAIT_S)
    story.console.press("Undo")
    until(lambda: "Recorded as an anomaly" in text(story), 60)
    assert "No judgement matches" in text(story)
    told = {"event": "anomaly.judge", "by": "Ann", "anomaly": True}
    until(lambda: any(told.items() <= each.items() for each in story.console.audited()), 60)


def test_a_rule_is_rejected_in_the_persons_name(story: Story) -> None:
    a_rule(story)
    until(lambda: "live.cause" in _opened(story, "/rules"), WAIT_S)
    story.console.press("Reject")
    until(lambda: "Decided" in text(story), 60)
    told = {"event": "correlation.decide", "by": "Ann", "about": RULE, "accept": False}
    until(lambda: any(told.items() <= each.items() for each in story.console.audited()), 60)


def test_chosen_jobs_are_cancelled_and_removed(story: Story) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        program = b"import time\nwhile True: time.sleep(1)\n"
        entry = tarfile.TarInfo("waits/code/train.py")
        entry.size = len(program)
        tar.addfile(entry, io.BytesIO(program))
    with story.client() as http:
        stored = http.put("/packages", content=packed.getvalue()).raise_for_status().json()
        body = {"name": "waiting", "main": "train.py", "package": stored["package"]}
        body |= {"resources": {"cpu": 0.1, "memory": "256Mi"}}
        http.post("/jobs", json=body).raise_for_status()
    until(lambda: "running" in _opened(story, "/jobs?search=waiting"), WAIT_S)
    _all(story, "Cancel")
    until(lambda: "cancelled" in _opened(story, "/jobs?search=waiting"), WAIT_S)
    with story.client() as http:
        body |= {"name": "too-large", "resources": {"cpu": 500, "memory": "999Gi"}}
        http.post("/jobs", json=body).raise_for_status()
    until(lambda: "refused" in _opened(story, "/jobs?search=too-large"), WAIT_S)
    for name in ("waiting", "too-large"):
        _opened(story, f"/jobs?search={name}")
        _all(story, "Remove")
        until(lambda name=name: "No job matches" in _opened(story, f"/jobs?search={name}"), WAIT_S)


def _all(story: Story, press: str) -> None:
    browser = story.console.browser
    browser.run("document.querySelector('[data-all]').click(); return 1")
    chosen = "return document.querySelectorAll('.pick input:checked').length"
    assert browser.run(chosen) == browser.count(".pick input") > 0
    story.console.press(press)
    until(lambda: browser.count(".said") == 1)


ALL = ("/", "/wall", "/ledger", "/settings", "/channels", *(page for page, *_ in LIVE))


@pytest.mark.parametrize("page", ALL)
def test_every_page_says_the_same_without_script(story: Story, page: str) -> None:
    browser = story.console.browser

    def words(*, script: bool) -> set[str]:
        browser.command("Emulation.setScriptExecutionDisabled", value=not script)
        browser.open(story.console.url + page.replace("ALERT", story.alert))
        return set(re.findall(r"[^\W\d]{3,}", browser.text()))

    try:
        # A minute may end in between, and with it "in 26 min"; choosing all is the script's.
        until(lambda: words(script=True) - words(script=False) <= {"Select", "all"})
        assert browser.count("main h1") == 1
    finally:
        browser.command("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("page", ["/", "/wall", "/alerts/ALERT", "/forecasts", "/judgements"])
def test_the_other_pages_are_readable_in_any_width_and_light(story: Story, page: str) -> None:
    browser = story.console.browser
    try:
        for scheme in ("light", "dark"):
            if scheme == "dark":
                dark(browser)
            for width in (390, 1280):
                wide(browser, width)
                browser.log()
                _opened(story, page)
                assert browser.log() == []
                assert browser.count("[style], [onclick], style") == 0
                wider = "return document.documentElement.scrollWidth - window.innerWidth"
                assert browser.run(wider) <= 0
                assert violations(browser) == []
    finally:
        browser.command("Emulation.clearDeviceMetricsOverride")
        browser.command("Emulation.setEmulatedMedia", features=[])
