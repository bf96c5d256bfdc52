"""Text that a database or JSON cannot hold costs its own message, on both databases."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from shared.contracts import JobCancel, JobSubmit, Message
from shared.embedded.process import EmbeddedError
from shared.messaging import Delivery
from shared.service import Context
from shared.service.inlet import Inlet
from shared.store import Collection, Store
from tests.postgresql import PrivatePostgres
from tests.recording_bus import RecordingBus


class Kept(BaseModel):
    name: str
    text: str


KEPT = Collection(
    "kept", Kept, key=lambda k: k.name, group=lambda k: k.name, status=lambda k: k.name
)


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = PrivatePostgres(tmp_path_factory.mktemp("postgresql"), ("task",))
    try:
        server.start()
    except EmbeddedError as error:
        pytest.fail(str(error), pytrace=False)
    yield server.url()
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/store.db"
    else:
        url = request.getfixturevalue("postgresql")
    opened = Store(url)
    yield opened
    opened.close()


_TEXTS = {
    "zero byte": "a\0b",
    "long": "l" * 5_000,
    "no character": "\udcff",
    "wide": "\N{OLD ITALIC LETTER A}" * 300,
    "nothing": "",
}


@pytest.mark.parametrize("text", _TEXTS.values(), ids=_TEXTS)
def test_what_cannot_be_stored_costs_its_own_message(store: Store, text: str) -> None:
    bus = RecordingBus("task")
    chosen: dict[str, str] = {}

    def handle(message: JobSubmit, context: Context) -> Iterable[Message]:
        name = chosen.get(message.job_id, message.job_id)
        context.records.put(KEPT, Kept.model_construct(name=name, text=name))
        return ()

    def cancel(message: JobCancel, context: Context) -> Iterable[Message]:
        del message, context
        return ()

    inlet = Inlet(bus, {JobSubmit: handle, JobCancel: cancel}, store, lambda: datetime.now(UTC))
    prefix = f"{abs(hash(text)) % 10**6}-{len(text)}"
    names = [f"{prefix}-{number}" for number in range(5)]
    chosen[f"{prefix}-bad"] = text
    headers: dict[str, Any] = {
        "cloudEvents_id": text or "\0",
        "traceparent": text,
        text[:200]: text,
    }
    inlet.handle(
        [
            *[_submitted(name) for name in names[:3]],
            _submitted(f"{prefix}-bad", headers),
            *[_submitted(name) for name in names[3:]],
        ]
    )
    with store.transaction() as records:
        assert [name for name in names if records.get(KEPT, name) is None] == []
        kept = records.get(KEPT, text)
    retried = [each for each in bus.published if each.message_id == f"m-{prefix}-bad"]
    assert (kept is None) == bool(retried), (
        "it is stored, or comes again, and then to the dead letters"
    )
    assert store.unsent_count() == 0
    assert store.those_set_aside() == []


def _submitted(job_id: str, headers: dict[str, Any] | None = None) -> Delivery:
    submit = JobSubmit(job_id=job_id, name="x", package="barograph:packages:a.tar.gz", main="t.py")
    body = submit.model_dump_json().encode()
    return Delivery("task.jobs", 1, "jobs", "job.submit", headers or {}, f"m-{job_id}", None, body)
