"""A log that never ends: the newest chunks are listed, and what is left out is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from functools import partial

import pytest

from services.client import handlers, log_chunks, logs
from services.client.projects import ALL
from services.client.records import CHUNKS, TALLIES, LogChunk
from shared.contracts import JobFailed, JobRemoved, JobRunning, LogAppended, Member
from tests.unit.client.test_api import NOW, Desk, event

KEPT_CHUNKS = 250
_HEAR = partial(handlers.log_appended, most=KEPT_CHUNKS)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.store.close()


def write(desk: Desk, numbers: range, *, announced: bool = True) -> None:
    member = Member(role="worker", index=0, incarnation=1)
    for number in numbers:
        key = f"jobs/a/logs/worker-0/1/{number:08d}.log"
        desk.objects.put("barograph", key, f"{number}\n".encode())
        if announced:
            said = LogAppended(job_id="a", member=member, chunk=number, key=key, text="", at=NOW)
            desk.hear(_HEAR, said)


def listed(desk: Desk) -> list[LogChunk]:
    with desk.store.reading() as records:
        return records.find(CHUNKS, group="a")


def followed(desk: Desk, position: int) -> list[tuple[int, str]]:
    told = desk.call(
        "GET", "/api/v1/jobs/a/logs/follow", headers={"Last-Event-ID": str(position)}
    ).text
    events = [
        dict(line.split(": ", 1) for line in part.splitlines()) for part in told.split("\n\n")[1:-1]
    ]
    return [(int(e["id"]), json.loads(e["data"])["text"]) for e in events if e["event"] == "log"]


def test_the_newest_chunks_are_listed_and_the_store_has_the_whole_log(desk: Desk) -> None:
    desk.hear(handlers.job_event, event(JobRunning, 1, "running", attempt=1))
    write(desk, range(1_000))
    kept = listed(desk)
    assert KEPT_CHUNKS <= len(kept) < KEPT_CHUNKS + 100
    assert kept[-1].chunk == 999
    assert desk.call("GET", "/api/v1/jobs/a/logs").text == "".join(f"{n}\n" for n in range(1_000))


def test_a_follower_is_told_once_what_is_left_out_and_goes_on_where_it_was(desk: Desk) -> None:
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    write(desk, range(600))
    first = listed(desk)[0].chunk
    told = followed(desk, 0)
    assert told[0][0] == first
    assert told[0][1] == (
        f"[{first} older chunks of this log are left out here; `tshell logs a` shows the whole"
        " log]\n"
    )
    assert told[1:] == [(number + 1, f"{number}\n") for number in range(first, 600)]
    # Who was cut off after the sentence, or at any chunk after it, misses nothing.
    assert followed(desk, first) == told[1:]
    assert followed(desk, 590) == told[1:][590 - first :]
    assert followed(desk, 600) == []


def test_a_follower_that_falls_behind_the_list_is_told_so(desk: Desk) -> None:
    class Waiting(logs.Followers):
        async def wait(self, timeout_s: float) -> None:
            del timeout_s
            write(desk, range(1, 600))

    async def texts() -> list[str]:
        found: list[str] = []
        async for each in desk.log.follow("a", 0, Waiting(), ALL):
            if isinstance(each, logs.LogEvent):
                found.append(each.text)
                if each.text == "599\n":
                    break
        return found

    desk.hear(handlers.job_event, event(JobRunning, 1, "running", attempt=1))
    write(desk, range(1))
    told = asyncio.run(texts())
    first = listed(desk)[0].chunk
    assert told[0] == "0\n"
    assert told[1].startswith(f"[{first - 1} older chunks")
    assert told[2:] == [f"{number}\n" for number in range(first, 600)]


def test_what_was_never_announced_is_told_at_the_end_and_what_was_dropped_is_not(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "_GRACE_S", -1.0)
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    write(desk, range(600))
    write(desk, range(600, 603), announced=False)
    told = [text for _, text in followed(desk, 0)]
    assert told[-4:] == ["599\n", "600\n", "601\n", "602\n"]
    assert len(told) == 1 + len(listed(desk)) + 3


def test_a_log_of_before_the_count_is_counted(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.hear(handlers.job_event, event(JobRunning, 1, "running", attempt=1))
    with monkeypatch.context() as earlier:
        earlier.setattr(log_chunks, "_tally", lambda *_: None)
        write(desk, range(700))
    assert len(listed(desk)) == 700
    write(desk, range(700, 702))
    assert KEPT_CHUNKS <= len(listed(desk)) < KEPT_CHUNKS + 100
    assert listed(desk)[-1].chunk == 701


def test_what_is_counted_goes_with_the_job(desk: Desk) -> None:
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    write(desk, range(3))
    desk.hear(handlers.job_event, event(JobRemoved, 4, "failed"))
    with desk.store.reading() as records:
        assert not records.count(CHUNKS)
        assert not records.count(TALLIES)
