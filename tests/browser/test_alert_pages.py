"""The pages of alerts in a real browser: without script, narrow, dark, and under their policy."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from services.client.alerts.model import AlertModel
from services.client.api.app import create_app
from services.client.handlers import job_event
from services.client.logs import Followers, Logs
from services.client.main import _OF_ALERTS
from services.client.model import ReadModel
from services.client.questions import Questions
from services.client.settings import ClientSettings
from shared.contracts import JobFailed, Message, Question
from shared.embedded.process import LOOPBACK
from shared.service import Context
from shared.service.http import HttpServer
from shared.storage import MemoryStore
from shared.store import Store
from tests.browser.axe import violations
from tests.browser.test_page import Browser, until
from tests.unit.client.alerts.events import (
    ALERT,
    MINUTE_MS,
    action,
    an_id,
    anomaly,
    changed,
    predicted,
    verified,
)

PAGES = ("/", "/alerts", f"/alerts/{ALERT}", "/forecasts", "/jobs")
WALL = "/wall"
HOSTILE = '"><script>alert(1)</script>' + "a-name-without-any-space" * 12
_NAMES = count()


class Door:
    """The client's pages over a read model that hears what a test says."""

    def __init__(self) -> None:
        self.store = Store("sqlite://")
        model, objects = ReadModel(self.store), MemoryStore()
        app = create_app(
            ClientSettings(healer_url="https://healer.example.org"),
            Silent(),
            model,
            AlertModel(self.store),
            objects,
            Logs(model, objects, "barograph"),
            Followers(),
            Questions(Silent()),
        )
        self._http = HttpServer(app, LOOPBACK, 0)
        self._http.start()
        self.url = self._http.url

    def hear(self, *messages: Message) -> None:
        for message in messages:
            with self.store.transaction() as records:
                ctx = Context(datetime.now(UTC), f"m{next(_NAMES)}", 1, records)
                _OF_ALERTS.get(type(message), job_event)(message, ctx)

    def stop(self) -> None:
        self._http.stop()
        self.store.close()


class Silent:
    """Nothing is to be published by looking; questions are, and nobody answers them."""

    def publish(self, messages: Iterable[Message], **how: object) -> None:
        told = [each for each in messages if not isinstance(each, Question)]
        assert told == [], how


def story() -> list[Message]:
    """An incident with all there can be, alerts of every urgency, forecasts, a failed job."""
    now = datetime.now(UTC)
    soon_ms = round((now + timedelta(minutes=30)).timestamp() * 1000)
    told: list[Message] = [
        predicted(),
        anomaly(),
        changed(1, "predicted"),
        changed(2, "firing"),
        action(1, "proposed", by="", reason="disk above 80 %", total_steps=3),
        verified(),
    ]
    for n in range(12):
        severity = ("critical", "warning", "info")[n % 3]
        state = ("firing", "predicted", "resolved")[n // 4]
        series = {"host": f"web-{n}", "item": "cpu.user", "labels": {"cpu": str(n)}}
        outcome = "back to normal by itself" if state == "resolved" else ""
        fields = {"severity": severity, "series": series, "outcome": outcome}
        told.append(changed(1, state, alert_id=an_id(n), **fields))
        crossing = {"earliest_ms": soon_ms + n * 10 * MINUTE_MS, "latest_ms": None}
        told.append(predicted(event_id=an_id(n), series=series, **crossing))
    odd = {"host": "h7", "item": "df.bytes.used.percent", "labels": {"mount": HOSTILE}}
    told.append(changed(1, "firing", alert_id=an_id("odd"), series=odd, sentence=HOSTILE))
    failed = {"state": "failed", "failure_class": "user_error", "reason": "exit code 1"}
    told.append(JobFailed(job_id="a", name="digits", sequence=1, at=now, **failed))
    return told


@pytest.fixture(scope="module")
def door() -> Iterator[Door]:
    made = Door()
    made.hear(*story())
    yield made
    made.stop()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    made = Browser()
    made.start()
    yield made
    made.stop()


@pytest.fixture(autouse=True)
def as_it_was(browser: Browser) -> Iterator[None]:
    yield
    browser.command("Emulation.clearDeviceMetricsOverride")
    browser.command("Emulation.setScriptExecutionDisabled", value=False)
    browser.command("Emulation.setEmulatedMedia", features=[])


def named(page: str) -> str:
    """Return what a page's picture is called: without the ids and questions in its address."""
    words = re.findall(r"[a-z]+", page.replace(ALERT, "incident").partition("?")[0])
    return "-".join(words) or "overview"


def dark(browser: Browser) -> None:
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.command("Emulation.setEmulatedMedia", features=features)


def wide(browser: Browser, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.command("Emulation.setDeviceMetricsOverride", **size)


@pytest.mark.parametrize("width", [390, 1920])
@pytest.mark.parametrize("page", [*PAGES, WALL])
def test_no_page_scrolls_sideways(
    page: str, width: int, browser: Browser, door: Door, tmp_path: Path
) -> None:
    wide(browser, width)
    browser.open(door.url + page)
    assert browser.run("return window.innerWidth") == width
    overflow = browser.run("return document.documentElement.scrollWidth - window.innerWidth")
    browser.picture(tmp_path / f"{width}.png")
    assert overflow <= 0


@pytest.mark.parametrize("page", PAGES)
def test_every_page_reads_without_script(page: str, browser: Browser, door: Door) -> None:
    def text(*, without_script: bool) -> str:
        browser.command("Emulation.setScriptExecutionDisabled", value=without_script)
        browser.open(door.url + page)
        return browser.text()

    # A minute may end in between, and with it "in 26 min".
    until(lambda: text(without_script=False) == text(without_script=True), 60)
    assert browser.count("header nav a[aria-current]") == 1
    assert browser.count("main h1") == 1


@pytest.mark.parametrize("page", [*PAGES, WALL])
def test_no_page_violates_its_policy_or_runs_a_strangers_text(
    page: str, browser: Browser, door: Door
) -> None:
    browser.log()
    browser.open(door.url + page)
    assert browser.log() == []
    assert browser.count("script") == 1
    assert browser.count("[style], [onclick], style") == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", [*PAGES, WALL])
def test_axe_finds_nothing_in_light_and_dark(
    page: str, scheme: str, browser: Browser, door: Door, tmp_path: Path
) -> None:
    if scheme == "dark":
        dark(browser)
    browser.open(door.url + page)
    browser.picture(tmp_path / f"{named(page)}-{scheme}.png")
    is_dark = browser.run("return matchMedia('(prefers-color-scheme: dark)').matches")
    assert is_dark == (scheme == "dark")
    assert violations(browser) == []


def test_axe_would_find_a_control_without_a_name(browser: Browser, door: Door) -> None:
    browser.open(f"{door.url}/alerts")
    browser.run("document.querySelector('main').append(document.createElement('button'))")
    assert [each.split(":")[0] for each in violations(browser)] == ["button-name"]


def test_the_plot_is_drawn_and_every_scrolling_part_can_be_reached_by_keyboard(
    browser: Browser, door: Door
) -> None:
    wide(browser, 390)
    browser.open(f"{door.url}/alerts/{ALERT}")
    assert browser.count("svg.plot polyline.value") == 1
    box = browser.run(
        "const b = document.querySelector('svg.plot polyline.value').getBBox();"
        "return [b.width, b.height]"
    )
    assert min(box) > 10
    unreached = (
        "return [...document.querySelectorAll('main *')]"
        ".filter(e => e.scrollWidth > e.clientWidth + 1"
        " && ['auto', 'scroll'].includes(getComputedStyle(e).overflowX) && e.tabIndex < 0)"
        ".map(e => e.outerHTML.slice(0, 120))"
    )
    for page in PAGES:
        browser.open(door.url + page)
        assert browser.run(unreached) == []


def test_a_list_that_is_open_shows_a_new_alert_by_itself(browser: Browser, door: Door) -> None:
    browser.open(f"{door.url}/alerts?host=fresh")
    assert "No alert matches" in browser.text()
    series = {"host": "fresh-1", "item": "cpu.user"}
    door.hear(changed(1, "firing", alert_id=an_id("fresh"), series=series))
    until(lambda: "fresh-1" in browser.text())
    door.hear(changed(2, "resolved", alert_id=an_id("fresh"), series=series, outcome="it fell"))
    until(lambda: "it fell" in browser.text())


def test_the_wall_is_read_from_afar_is_live_and_says_when_it_is_not(
    browser: Browser, door: Door
) -> None:
    screen = {"width": 1920, "height": 1080, "deviceScaleFactor": 1, "mobile": False}
    browser.command("Emulation.setDeviceMetricsOverride", **screen)
    browser.open(door.url + WALL)
    assert "Attention needed" in browser.text()
    sizes = (
        "return [...document.querySelectorAll('main :is(h1, strong, span, small, p, a, time)')]"
        ".map(e => parseFloat(getComputedStyle(e).fontSize))"
    )
    assert min(browser.run(sizes)) >= 24, "an eighth of a thumb at three metres"
    dark_page = "return getComputedStyle(document.body).backgroundColor"
    assert browser.run(dark_page) == "rgb(11, 17, 22)"
    before = browser.run("return document.querySelector('.tiles .bad strong').textContent")
    series = {"host": "wall-1", "item": "cpu.user"}
    door.hear(changed(1, "firing", alert_id=an_id("wall"), series=series))
    until(
        lambda: (
            browser.run("return document.querySelector('.tiles .bad strong').textContent") != before
        ),
    )
    browser.run("window.fetch = () => Promise.reject(new Error('away')); return 1")
    until(lambda: browser.count("#wall.stale") == 1)
