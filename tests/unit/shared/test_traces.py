"""Trace contexts, and spans that reach a collector or do no harm where there is none."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from services.client.handlers import job_event
from services.client.job_trace import spans
from services.client.records import JobView, Moment
from shared import traces
from shared.contracts import JobCancel, JobFailed, JobState
from shared.messaging.envelope import Envelope, headers_for
from shared.service.traced_http import TracedRequests
from shared.traces import Kind, Span
from shared.traces_otlp import exporting
from tests.collector import Collector, collecting

OTHER = f"00-{'ab' * 16}-{'cd' * 8}-01"


@pytest.fixture
def collector() -> Iterator[Collector]:
    yield from collecting()


@pytest.fixture
def told() -> Iterator[list[Span]]:
    found: list[Span] = []
    traces.export_to(found.append)
    yield found
    traces.export_to(None)


@given(st.text(max_size=80) | st.from_regex(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}\n?"))
def test_whatever_a_sender_calls_its_trace_what_follows_is_in_some_trace(text: str) -> None:
    found = traces.parts(traces.following(text))
    assert found is not None
    given_ = traces.parts(text)
    assert given_ is None or found == given_


def test_zeros_are_no_trace() -> None:
    assert traces.parts(f"00-{'0' * 32}-{'cd' * 8}-01") is None
    assert traces.parts(f"00-{'ab' * 16}-{'0' * 16}-01") is None


def test_every_message_of_a_job_is_in_the_trace_of_its_id() -> None:
    root = traces.of_job("digits-1")
    alone = headers_for(JobCancel(job_id="digits-1"), "m", "client", None)["traceparent"]
    assert alone == root.traceparent
    elsewhere = Envelope("m", "t", "s", traceparent=OTHER)
    caused = headers_for(JobCancel(job_id="digits-1"), "m", "client", elsewhere)["traceparent"]
    assert caused == root.traceparent
    inside = f"00-{root.trace_id}-{'12' * 8}-01"
    within = Envelope("m", "t", "s", traceparent=inside)
    assert headers_for(JobCancel(job_id="digits-1"), "m", "c", within)["traceparent"] == inside
    assert traces.of_job("digits-2").trace_id != root.trace_id
    assert traces.of_job("digits-1", "job/3").parent_id == root.span_id


def _answer(request: Request) -> PlainTextResponse:
    if request.path_params["name"] == "bad":
        return PlainTextResponse("no", 503)
    return PlainTextResponse(traces.current())


def test_what_a_request_publishes_is_in_its_callers_trace(told: list[Span]) -> None:
    app = Starlette(routes=[Route("/things/{name}", _answer, methods=["GET", "POST"])])

    async def ask() -> str:
        transport = httpx.ASGITransport(TracedRequests(app))
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            found = await client.post("/things/one", headers={"traceparent": OTHER})
            await client.post("/things/bad")
            await client.get("/things/one")
            return found.text

    current = asyncio.run(ask())
    first, second = told
    assert (first.traceparent, first.parent_id) == (current, "cd" * 8)
    assert (first.trace_id, first.name) == ("ab" * 16, "POST /things/{name}")
    assert (second.problem, second.parent_id) == ("answered 503", "")
    assert traces.current() == ""


def test_tasks_beside_each_other_do_not_share_their_context() -> None:
    async def work(context: str) -> str:
        with traces.within(context):
            await asyncio.sleep(0)
            return traces.current()

    async def both() -> list[str]:
        return await asyncio.gather(work("a"), work("b"))

    assert asyncio.run(both()) == ["a", "b"]


AT = datetime(2026, 11, 29, 8, tzinfo=UTC)


def _moment(kind: str, second: int, member: str = "", number: int = 1) -> Moment:
    name = f"{member or 'job'}/{kind}/{number}"
    at = AT + timedelta(seconds=second)
    return Moment(job_id="j", id=name, at=at, kind=kind, text="", member=member, incarnation=1)


def test_the_spans_of_a_job_are_its_phases_and_programs_within_one_root() -> None:
    view = JobView(
        job_id="j",
        name="digits",
        state="failed",
        sequence=5,
        created_at=AT,
        updated_at=AT + timedelta(seconds=9),
        reason="exit code 1",
    )
    moments = [
        _moment("accepted", 0),
        _moment("starting", 2),
        _moment("started", 3, "worker-0"),
        _moment("running", 4),
        _moment("exited", 8, "worker-0"),
        _moment("started", 3, "ps-0"),
        _moment("failed", 9),
    ]
    root, *parts = spans(view, moments)
    lasted = {each.name: (each.end_ns - each.start_ns) / 1e9 for each in (root, *parts)}
    assert lasted == {
        "job digits": 9,
        "waiting": 2,
        "starting": 2,
        "running": 5,
        "program of worker-0": 5,
        "program of ps-0": 6,
    }
    assert root.problem == "exit code 1"
    assert {each.parent_id for each in parts} == {root.span_id}
    again = [each.span_id for each in spans(view, moments)]
    assert again == [each.span_id for each in (root, *parts)]
    assert len(set(again)) == len(again)


def test_spans_reach_a_collector_with_their_parents_links_and_problems(
    collector: Collector,
) -> None:
    with exporting(collector.url, "task", "0"):
        parent = traces.begin("outer", Kind.SERVER, "", {"number": 3})
        child = traces.begin("inner", Kind.CONSUMER, parent.traceparent)
        child.end("it broke")
        parent.end()
    inner, outer = sorted(collector.spans, key=lambda each: each.name)
    assert (inner.trace_id, inner.parent_id) == (outer.trace_id, outer.span_id)
    assert (inner.problem, outer.problem) == ("it broke", "")
    assert (outer.attributes, outer.service) == ({"number": 3}, "barograph-task")
    assert outer.start_ns <= inner.start_ns <= inner.end_ns <= outer.end_ns


def test_a_part_of_the_traces_is_sent_the_same_one_by_every_service(collector: Collector) -> None:
    contexts = [traces.begin("x", Kind.INTERNAL).traceparent for _ in range(400)]
    kept = []
    for service in ("task", "client"):
        with exporting(collector.url, service, "0", ratio=0.25):
            for context in contexts:
                traces.begin(service, Kind.INTERNAL, context).end()
        kept.append({each.trace_id for each in collector.spans if each.name == service})
    assert kept[0] == kept[1]
    assert 40 < len(kept[0]) < 180


_AWAY = """
import sys
from shared import traces
from shared.traces import Kind
from shared.traces_otlp import exporting
with exporting(sys.argv[1], "task", "0"):
    for _ in range(20_000):
        traces.begin("x", Kind.INTERNAL).end()
print("ended")
"""


@pytest.mark.slow
def test_a_collector_that_is_away_or_never_answers_keeps_no_process_from_its_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        for port in (silent.getsockname()[1], free.getsockname()[1]):
            url = f"http://127.0.0.1:{port}/v1/traces"
            command = [sys.executable, "-c", _AWAY, url]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")


def test_an_ended_job_is_told_once_for_each_end(told: list[Span]) -> None:
    class Records:
        def __init__(self) -> None:
            self.kept: dict[Any, Any] = {}

        def get(self, collection: Any, key: str) -> Any:
            return self.kept.get((collection.name, key))

        def put(self, collection: Any, record: Any) -> None:
            self.kept[collection.name, collection.key(record)] = record

        def find(self, collection: Any, **_: Any) -> list[Any]:
            return []

    class Context:
        now, records = AT, Records()

    failed = JobFailed.model_validate(
        {
            "job_id": "j",
            "name": "digits",
            "state": JobState.FAILED,
            "sequence": 4,
            "at": AT,
            "failure_class": "user_error",
        }
    )
    for _ in range(2):
        job_event(failed, Context())
    assert [each.name for each in told] == ["job digits"]
