"""The pages of alerts: whatever names strangers chose, with an empty store and with a full one."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.alerts.axis import GRID_LINES, round_values
from services.client.alerts.records import ALERTS, EPISODES, Episode
from services.client.alerts.wording import crossing_range
from services.client.api.dead_letters import DeadLetters
from services.client.api.reach import Reaching
from services.client.handlers import job_event
from services.client.healer_api import HealerUnavailable
from services.client.main import _OF_ALERTS
from services.client.questions import Questions
from shared.contracts import DeadLettersAnswered, DeadLettersAsk, JobFailed, JobRunning, Message
from shared.service import Context
from tests.unit.client.alerts.events import (
    ALERT,
    NOW,
    SERIES,
    action,
    an_id,
    anomaly,
    changed,
    predicted,
    verified,
)
from tests.unit.client.test_api import Desk
from tests.waiting import eventually

PAGES = ("/", "/alerts", "/forecasts", "/jobs", f"/alerts/{ALERT}")
HOSTILE = "\"><script>alert(1)</script>\x1b[2J\u202egnp.exe'{{7000*7}}<img src=x onerror=y>"
HOSTILE_SERIES = {"host": "h7", "item": "df.bytes.used.percent", "labels": {"mount": HOSTILE}}
MAX_BYTES = 60_000


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(healer_url="https://healer.example.org/")
    yield made
    made.store.close()


def hear(desk: Desk, *messages: Message) -> None:
    for message in messages:
        # The messages of these tests are of some minutes; they come when all of these have passed.
        desk.hear(_OF_ALERTS[type(message)], message, NOW + timedelta(minutes=10))


def text_of(desk: Desk, path: str, status: int = 200) -> str:
    answer = desk.call("GET", path)
    assert answer.status_code == status, answer.text
    return answer.text


@pytest.mark.parametrize("path", PAGES)
def test_nothing_that_a_stranger_named_becomes_markup_or_hides(desk: Desk, path: str) -> None:
    named = {"series": HOSTILE_SERIES, "sentence": HOSTILE}
    hear(
        desk,
        changed(1, "firing", acknowledged_by=HOSTILE, **named),
        changed(1, "firing", alert_id=an_id("other"), **named),
        anomaly(**named),
        predicted(**named),
        verified(series=HOSTILE_SERIES),
        action(1, "failed", series=HOSTILE_SERIES, by=HOSTILE, reason=HOSTILE, target=HOSTILE),
    )
    at = datetime.now(UTC)
    failed = {"state": "failed", "failure_class": "unknown", "at": at, "reason": HOSTILE}
    desk.hear(job_event, JobFailed(job_id="a", name="x", sequence=1, **failed))
    page = text_of(desk, path)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page, "it is shown"
    for part in ("<script>alert", "<img src=x", "\x1b", "\u202e", "49000"):
        assert part not in page


@pytest.mark.parametrize("path", PAGES)
def test_no_page_has_inline_code_or_another_host(path: str) -> None:
    desk = Desk()
    hear(desk, changed(1, "firing"), anomaly(), predicted())
    page = text_of(desk, path)
    for part in ("style=", "<style", "onclick", "javascript:", "http://", "https://", "//cdn"):
        assert part not in page
    assert page.count("<script") == 1
    assert 'aria-label="Pages"' in page
    desk.store.close()


def test_an_empty_store_is_said_to_be_empty(desk: Desk) -> None:
    assert "Nothing needs attention" in text_of(desk, "/")
    assert "There are no alerts." in text_of(desk, "/alerts")
    assert "No alert matches" in text_of(desk, "/alerts?host=h7")
    assert "No alarm is predicted" in text_of(desk, "/forecasts")
    assert "No jobs yet" in text_of(desk, "/jobs")
    assert "There is no such alert" in text_of(desk, f"/alerts/{ALERT}", 404)


@pytest.mark.parametrize(
    ("host", "beside"),
    [
        ("xn--paypl-7ve.example", "payp\u0430l.example"),
        ("xn--99999999999.example", ""),
        ("xn--paypl-oz3b.example", "payp\N{REPLACEMENT CHARACTER}l.example"),
    ],
)
def test_a_machines_international_name_is_shown_in_both_forms(
    desk: Desk, host: str, beside: str
) -> None:
    hear(desk, changed(1, "firing", series=SERIES | {"host": host}))
    for path in ("/alerts", "/", f"/alerts/{ALERT}"):
        shown = text_of(desk, path)
        assert ('class="spelt"' in shown) == bool(beside)
        assert f"(<bdi>{beside}</bdi>)" in shown or not beside
        assert "\u202e" not in shown


def test_alerts_are_grouped_by_machine_or_item_with_the_filter_that_holds(desk: Desk) -> None:
    for n, (host, item, severity, state) in enumerate(
        [
            ("a", "cpu.user", "warning", "firing"),
            ("a", "mem.free", "critical", "firing"),
            ("b", "cpu.user", "critical", "resolved"),
        ]
    ):
        series = {"host": host, "item": item}
        fields = {"series": series, "severity": severity, "alert_id": an_id(n)}
        hear(desk, changed(1, state, **fields))
    by_machine = text_of(desk, "/alerts?group=host")
    assert by_machine.index("1 critical") < by_machine.index("1 warning")
    assert 'href="/alerts?host=a"' in by_machine
    assert "1 resolved" in by_machine
    by_item = text_of(desk, "/alerts?group=item&state=firing")
    assert 'href="/alerts?state=firing&amp;item=cpu.user"' in by_item
    assert "resolved</span>" not in by_item
    assert "No alert matches" in text_of(desk, "/alerts?group=item&host=c")


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e12))
def test_a_plots_lines_are_few_and_at_round_values(low: float, extent: float) -> None:
    values = round_values(low, low + extent)
    assert 1 <= len(values) <= 2 * GRID_LINES
    slack = 1e-6 * (abs(low) + extent)
    assert all(low - slack <= value <= low + extent + slack for value in values)
    assert round_values(0, 100) == [0, 25, 50, 75, 100]
    assert round_values(27.77, 92.96) == [40, 60, 80]


def test_the_list_of_jobs_has_moved_and_old_addresses_lead_to_it(desk: Desk) -> None:
    moved = desk.call("GET", "/?offset=50")
    assert (moved.status_code, moved.headers["location"]) == (308, "/jobs?offset=50")


@pytest.mark.parametrize("path", PAGES)
def test_every_page_asks_for_the_token(path: str) -> None:
    desk = Desk(api_token="opensesame")
    assert desk.call("GET", path).status_code == 401
    asked = desk.call("GET", path, headers={"accept": "text/html"})
    assert (asked.status_code, asked.headers["location"]) == (303, "/login")
    desk.store.close()


def test_an_incident_shows_its_plot_its_table_and_what_can_be_done(desk: Desk) -> None:
    hear(desk, anomaly(), predicted(), changed(1, "firing"), verified())
    page = text_of(desk, f"/alerts/{ALERT}")
    assert 'role="img" aria-label="df.bytes.used.percent on h7 from 2026-01-01 11:30' in page
    assert "the threshold is 80" in page
    assert "<td>2026-01-01 11:59:00</td><td>value</td>" in page
    assert "normal was 66 to 75" in page
    assert "the forecast for 2026-01-01 15:50 UTC is 81.75" in page
    assert "81.5 % before, 61 % after; it helped" in page
    assert f"https://healer.example.org/api/v1/alerts/{ALERT}/acknowledge" in page
    hear(desk, changed(2, "resolved", outcome="over"))
    assert "acknowledge</pre>" not in text_of(desk, f"/alerts/{ALERT}"), "it is over"


@pytest.mark.parametrize("value", [1e308, -1e308, 5e-324, 0.0])
@pytest.mark.parametrize("time_ms", [0, -(10**18), 10**30])
def test_any_number_and_any_time_can_be_shown(desk: Desk, value: float, time_ms: int) -> None:
    recent = [{"time_ms": time_ms, "value": value}, {"time_ms": 1, "value": -value}]
    ahead = {"time_ms": time_ms, "mean": value, "lower": -value, "upper": value}
    times = {"time_ms": time_ms, "crossing_ms": time_ms, "earliest_ms": time_ms}
    hear(
        desk,
        changed(1, "predicted", value=value, crossing_ms=time_ms),
        predicted(recent=recent, forecast=[ahead], value=value, threshold=-value, **times),
    )
    for path in PAGES:
        text_of(desk, path)


@pytest.mark.parametrize(
    "query", ["state=x", "severity=x", "offset=-1", "offset=x", f"search={'x' * 201}"]
)
def test_a_filter_that_cannot_be_is_refused_by_name(desk: Desk, query: str) -> None:
    answer = desk.call("GET", f"/alerts?{query}")
    assert answer.status_code == 422
    assert [f["field"] for f in answer.json()["faults"]] == [query.partition("=")[0]]


def full(desk: Desk, many: int) -> None:
    """Alerts and predictions of as many series."""
    hear(desk, changed(1, "firing"), predicted())
    with desk.store.transaction() as records:
        (alert,), (episode,) = records.find(ALERTS), records.find(EPISODES)
        named = [{"host": f"h{n}", "labels": f"mount=/{an_id(n)}"} for n in range(many)]
        records.put_all(
            ALERTS,
            [
                alert.model_copy(update={"alert_id": an_id(n), "sentence": an_id(-n)} | name)
                for n, name in enumerate(named)
            ],
        )
        records.put_all(
            EPISODES,
            [
                episode.model_copy(update={"event_id": an_id(n), "sentence": an_id(-n)} | name)
                for n, name in enumerate(named)
            ],
        )


@pytest.mark.slow
def test_no_page_of_ten_thousand_alerts_is_large_and_every_alert_can_be_reached(
    desk: Desk,
) -> None:
    full(desk, 9_999)
    paths = ("/", "/alerts", "/alerts?search=h99", "/alerts?offset=9900", "/forecasts")
    for path in paths:
        page = text_of(desk, path)
        assert len(gzip.compress(page.encode())) < MAX_BYTES, path
    assert "Next page" in text_of(desk, "/alerts")
    last = text_of(desk, "/alerts?host=h&offset=9900")
    assert "Previous page" in last
    assert "host=h&amp;offset=9800" in last, "the filter stays"
    assert "<bdi>h9998</bdi>" in text_of(desk, "/alerts?host=h9998")
    assert "10000 open predictions" in text_of(desk, "/forecasts")


def test_the_overview_says_what_keeps_critical_alerts_from_people(desk: Desk) -> None:
    hear(desk, changed(1, "firing", alert_id=an_id("held"), series=HOSTILE_SERIES))
    missed = {"alert_id": an_id("held"), "why": f"held back by silence {HOSTILE}"}
    answer = {
        "problems": [f"Silence {HOSTILE} of ann mutes every alert until 2027-01-01 00:00 UTC."],
        "unheard": [missed | {"until": "2027-01-01T00:00:00Z"}],
    }
    asked, clock = [], [0.0]

    class Healer:
        known = True

        def glance(self, *path: str) -> Any:
            asked.append(path)
            if len(asked) > 1:
                raise HealerUnavailable
            return answer

    reaching = Reaching(Healer(), lambda: clock[0])
    desk.app.state.client = replace(desk.app.state.client, reaching=reaching)
    for _ in range(3):
        page = text_of(desk, "/")
    assert len(asked) == 1, "whoever looks, the healer is asked a few times a minute"
    assert "Critical alerts may not reach anybody" in page
    assert "Nobody was notified: held back by silence" in page
    assert "until 2027-01-01 00:00:00 UTC" in page
    assert "Nothing needs attention" not in page
    assert "<script>alert" not in page
    clock[0] = 60.0
    assert "The healer does not answer" in text_of(desk, "/")


def test_the_overview_and_the_wall_show_messages_that_could_not_be_handled(desk: Desk) -> None:
    clock = [0.0]

    class Services:
        """Those that are there answer, each for its own queues."""

        def __init__(self) -> None:
            own = {"client.alerts": 2, "client.logs": 0}
            self.questions = Questions(self, 0.01, own_dead_letters=lambda: own)
            self.asked = 0

        def publish(self, messages: Sequence[Any], *, timeout_s: float) -> None:
            del timeout_s
            for message in messages:
                assert isinstance(message, DeadLettersAsk)
                self.asked += 1
                queues = {"task.jobs": 3 - 3 * (self.asked > 1), "<script>": 1}
                told = DeadLettersAnswered(request_id=message.request_id, queues=queues)
                self.questions.take(told, Context(NOW, "m", 1, None))

    services = Services()
    dead = DeadLetters(services.questions, lambda: clock[0])
    desk.app.state.client = replace(desk.app.state.client, dead_letters=dead)
    eventually(lambda: "3 in <code>task.jobs</code>" in text_of(desk, "/"), "the answer")
    page = text_of(desk, "/")
    assert "2 in <code>client.alerts</code>" in page
    assert "client.logs" not in page
    assert "Nothing needs attention" not in page
    assert "<script>" not in page.partition("<main")[2]
    assert "messages not handled" in text_of(desk, "/wall")
    assert services.asked == 1, "whoever looks, the services are asked once a minute"
    clock[0] = 61.0
    eventually(lambda: "task.jobs" not in text_of(desk, "/"), "what was replayed is gone")


def test_the_overview_shows_what_needs_a_person_and_not_what_somebody_has_taken(
    desk: Desk,
) -> None:
    soon_ms = round((datetime.now(UTC) + timedelta(minutes=30)).timestamp() * 1000)
    late_ms = soon_ms + 3_600_000

    def forecast(name: str, at_ms: int) -> Any:
        series = {"host": name, "item": "cpu.user"}
        return predicted(event_id=an_id(name), series=series, earliest_ms=at_ms)

    def alert(name: str, **fields: Any) -> Any:
        series = {"host": name, "item": "cpu.user"}
        return changed(1, "firing", alert_id=an_id(name), series=series, **fields)

    hear(
        desk,
        forecast("soon", soon_ms),
        forecast("late", late_ms),
        alert("unseen"),
        alert("taken", acknowledged_by="ann"),
        alert("mild", severity="warning"),
    )
    page = text_of(desk, "/")
    shown = [
        name for name in ("soon", "late", "unseen", "taken", "mild") if f"<bdi>{name}</bdi>" in page
    ]
    assert shown == ["soon", "unseen"]
    assert '<a href="/alerts?state=open">3</a>' in page
    assert '<a href="/forecasts">2</a>' in page
    wall = text_of(desk, "/wall")
    assert "Attention needed" in wall
    assert "<strong>1</strong><span>unacknowledged critical alert" in wall
    assert "cpu.user on unseen" in wall
    assert "cpu.user on taken" not in wall
    assert "3 open alerts, 2 open predictions" in wall
    assert NOW.strftime("%Y-%m-%d") in page


def test_each_job_is_on_the_overview_once_and_a_predicted_alarm_leads_to_its_page(
    desk: Desk,
) -> None:
    now = datetime.now(UTC)
    failed = {"state": "failed", "failure_class": "user_error", "reason": "exit code 1"}
    for n in range(3):
        failure = JobFailed(job_id=f"bad-{n}", name="digits", sequence=1, at=now, **failed)
        desk.hear(job_event, failure)
    going = {"state": "running", "attempt": 1}
    desk.hear(job_event, JobRunning(job_id="good", name="digits", sequence=1, at=now, **going))
    soon_ms = round((now + timedelta(minutes=30)).timestamp() * 1000)
    for n, host in enumerate(("web-1", "web-2")):
        series = {"host": host, "item": "cpu.user"}
        hear(desk, predicted(event_id=an_id(host), series=series, earliest_ms=soon_ms + n))
    series = {"host": "web-1", "item": "cpu.user"}
    hear(desk, changed(1, "predicted", alert_id=ALERT, series=series))
    page = text_of(desk, "/")
    for job_id in ("bad-0", "bad-1", "bad-2", "good"):
        assert page.count(f'href="/jobs/{job_id}"') == 1, job_id
    assert f'<a href="/alerts/{ALERT}"><bdi>cpu.' in page
    assert '<a href="/metrics/series?host=web-2' in page


def test_forecasts_are_filtered_and_say_what_would_be_done(desk: Desk) -> None:
    now = datetime.now(UTC)
    soon_ms = round(now.timestamp() * 1000) + 1_000
    for n, host in enumerate(("web-1", "web-2", "db-1")):
        series = SERIES | {"host": host}
        times = {"earliest_ms": soon_ms + n, "latest_ms": None}
        hear(desk, predicted(event_id=an_id(host), series=series, **times))
    series = SERIES | {"host": "web-1"}
    steps = [{"action": "delete", "target": f"/var/log/{n}", "freed_bytes": 1 << 30} for n in "abc"]
    hear(
        desk,
        changed(1, "predicted", alert_id=an_id("a"), series=series),
        action(1, "proposed", incident_id=an_id("a"), series=series, steps=steps),
    )
    page = text_of(desk, "/forecasts?host=WEB")
    assert "db-<wbr>1" not in page
    assert page.index("web-<wbr>1") < page.index("web-<wbr>2"), "the earliest crossing first"
    assert "awaits approval</a></span>, would free 3 GiB." in page
    assert "No open prediction matches" in text_of(desk, "/forecasts?search=nothing")


@pytest.mark.parametrize(
    ("today", "words"),
    [
        (date(2026, 1, 1), "between 23:10 and 2026-01-02 01:30 UTC"),
        (date(2026, 1, 2), "between 2026-01-01 23:10 and 2026-01-02 01:30 UTC"),
        (None, "between 2026-01-01 23:10 and 2026-01-02 01:30 UTC"),
    ],
)
def test_a_crossing_has_a_date_where_it_is_not_todays(today: date | None, words: str) -> None:
    evening = datetime(2026, 1, 1, 23, 10, tzinfo=UTC).timestamp() * 1000
    times = {"earliest_ms": round(evening), "latest_ms": round(evening) + 8_400_000}
    named = {"series": "s", "host": "h", "item": "i", "labels": "", "received_at": NOW}
    episode = Episode.model_validate({"event_id": "e", "kind": "prediction"} | named | times)
    assert crossing_range(episode, today) == words


def test_the_overview_counts_what_it_does_not_list(desk: Desk) -> None:
    for n in range(130):
        series = {"host": f"h{n}", "item": "cpu.user"}
        taken = {"acknowledged_by": "Ann"} if n < 10 else {}
        hear(desk, changed(1, "firing", alert_id=an_id(n), series=series, **taken))
    for n in range(20):
        fields = {"action_id": an_id(("x", n)), "incident_id": an_id(n), "target": f"m{n}"}
        hear(desk, action(1, "proposed", **fields))
    page = text_of(desk, "/")
    assert ">100+</a><small>of 130 open</small>" in page
    assert "<summary>12 more</summary>" in page
    assert page.count("clean-logs on <bdi>m") == 20
    assert "<strong>100+</strong><span>unacknowledged critical alerts" in text_of(desk, "/wall")
