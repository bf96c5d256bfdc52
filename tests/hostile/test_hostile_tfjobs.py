"""A TFJob that anybody applied costs itself alone, whatever it holds or its status says."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.task.tfjobs import controller
from services.task.tfjobs.source import changed
from services.task.tfjobs.tfjob import TFJob
from shared.cluster import ClusterUnavailable, Mirror, Object
from shared.cluster.cluster import Watch, _checked
from shared.cluster.nesting import MAX_DEPTH, parsed
from shared.contracts import JobState
from tests.unit.task.tfjobs.objects import House, replica, tfjob
from tests.waiting import eventually

DEEP = b"[" * 9_000 + b'"]}"' + b"]" * 9_000


@pytest.fixture
def house() -> House:
    return House()


def _text_of(item: Object, inside: bytes) -> bytes:
    return json.dumps(item).encode().replace(b'"DEEP"', inside)


def test_a_list_is_read_although_one_object_in_it_is_nested_beyond_all_readers() -> None:
    deep = tfjob("deep", "u-2", more="DEEP", behind='a " \\ [{')
    page = {"metadata": {"resourceVersion": "9"}, "items": [deep, tfjob()]}
    found = _checked("GET /tfjobs", 200, _text_of(page, DEEP))
    assert found["metadata"] == page["metadata"]
    assert found["items"][1] == tfjob()
    assert found["items"][0]["spec"]["behind"] == deep["spec"]["behind"]


def test_a_watch_goes_on_behind_such_an_object() -> None:
    first = {"type": "ADDED", "object": tfjob("deep", "u-2", more="DEEP")}
    second = {"type": "ADDED", "object": tfjob()}

    class Answer:
        def stream(self, amt: int | None) -> list[bytes]:
            del amt
            return [_text_of(first, DEEP) + b"\n" + json.dumps(second).encode() + b"\n"]

    answer: Any = Answer()
    names = [event["object"]["metadata"]["name"] for event in Watch("WATCH /tfjobs", answer)]
    assert names == ["deep", "mnist"]


_ANY = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@settings(max_examples=100, deadline=None)
@given(before=_ANY, behind=_ANY, levels=st.integers(1, 2_000))
def test_what_is_cut_is_the_depth_alone(before: object, behind: object, levels: int) -> None:
    deep = b"[" * levels + b"1" + b"]" * levels
    text = b"[%s,%s,%s]" % (json.dumps(before).encode(), deep, json.dumps(behind).encode())
    found = parsed(text)
    assert (found[0], found[2]) == (before, behind)
    inner, depth = found[1], 1
    while isinstance(inner, list):
        (inner,), depth = inner, depth + 1
    assert inner == 1 or (inner is None and depth == MAX_DEPTH)


@pytest.mark.parametrize("text", [b"[1, 2", b"{", b"", b"\xff", b'"', b"]" * 2_000, b"[" * 2_000])
def test_what_is_no_answer_of_an_api_server_is_an_outage(text: bytes) -> None:
    if text:
        with pytest.raises(ClusterUnavailable):
            _checked("GET /tfjobs", 200, text)


def test_what_nobody_foresaw_ends_no_watch() -> None:
    listed = threading.Event()

    class Server:
        lists = 0

        def get(self, _path: str, **_query: str) -> Object:
            self.lists += 1
            if self.lists == 1:
                return {"items": []}  # of something else than an API server
            listed.set()
            return {"metadata": {"resourceVersion": "1"}, "items": [tfjob()]}

        def watch(self, *_: object, **_query: str) -> Any:
            raise ClusterUnavailable("gone")

    server: Any = Server()
    mirror = Mirror(server, "/tfjobs")
    mirror.start()
    try:
        eventually(lambda: mirror.items() == [tfjob()], "the list")
    finally:
        mirror.stop()


HUGE: dict[str, Object] = {
    "volumes without a source": {"volumes": [{"name": "a", "secret": {}}] * 15_000},
    "volumes of any name": {"volumes": [{"name": str(n), "configMap": {}} for n in range(15_000)]},
    "empty directories": {"volumes": [{"name": str(n), "emptyDir": {}} for n in range(15_000)]},
    "pull secrets": {"imagePullSecrets": [{}] * 200_000},
    "containers": {"containers": [{"name": "tensorflow", "env": [{}] * 5}] * 15_000},
    "fields nobody knows": {str(n): n for n in range(50_000)},
    "nested twice as deep as is read": json.loads('{"a":' * 400 + "1" + "}" * 400),
}


@pytest.mark.parametrize("pod", HUGE.values(), ids=HUGE)
def test_the_largest_object_is_refused_in_words_and_its_neighbour_runs(
    house: House, pod: Object
) -> None:
    """Half a megabyte each, which once took hours: everything found was compared with all else."""
    huge = replica(1)
    huge["template"]["spec"] |= pod
    house.objects.apply(tfjob("huge", "u-0", tfReplicaSpecs={"Worker": huge}))
    house.objects.apply(tfjob())
    house.run()
    assert [job.job_id for job in house.jobs()] == ["mnist-u-1"]
    (told,) = house.status("u-0")["conditions"]
    assert told["reason"] == "TFJobFailedValidation"
    assert len(told["message"]) <= 2_000


@pytest.mark.parametrize(
    "forged",
    [
        [{"type": "Succeeded", "status": "True"}],
        [{"type": "Failed", "status": "True", "reason": {"a": []}}],
        [{"type": "Suspended", "status": "True"}],
        [{"type": ["Running"], "status": {"x": 1}, "reason": []}],
        [{}] * 1_000,
        5,
        "Succeeded",
        {"type": "Succeeded"},
    ],
)
def test_a_forged_status_frees_no_job_from_its_object(house: House, forged: Any) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.objects.apply(tfjob() | {"status": {"conditions": forged, "completionTime": "0001"}})
    house.run(2)
    assert house.taken() == 1
    house.objects.items.clear()
    house.run(2)
    assert house.job().state is JobState.CANCELLED
    assert house.taken() == 0


def test_conditions_of_any_form_are_compared() -> None:
    strange = [{"type": ["x"], "status": {}, "reason": {"a": []}}]
    news = [{"type": "Created", "status": "True", "reason": "TFJobCreated"}]
    assert changed(strange, news) == news


def test_whoever_applies_hundreds_at_once_keeps_nobody_from_being_told_of(house: House) -> None:
    house.objects.apply(tfjob())
    house.run()
    house.begins()
    many = 2 * controller._MAX_SUBMITTED + 1
    items = {f"m-{n}": tfjob(f"many-{n}", f"m-{n}") for n in range(many)}
    house.objects.items = items | house.objects.items  # before what runs
    house.run()
    assert house.holds()["Running"] == "True"
    assert len(house.jobs()) == 1 + controller._MAX_SUBMITTED
    house.run(2)
    assert len(house.jobs()) == 1 + many


def test_an_outage_ends_the_pass_and_nothing_is_lost_by_it(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each object would wait for the answer's time-out in turn."""
    for n in range(20):
        house.objects.apply(tfjob(f"many-{n}", f"m-{n}"))
    write, asked = house.objects.write_status, []

    def away(job: TFJob, _status: Object) -> None:
        asked.append(job.name)
        raise ClusterUnavailable("no answer within 30 s")

    monkeypatch.setattr(house.objects, "write_status", away)
    house.run()
    assert len(asked) == controller._MAX_FAILED
    monkeypatch.setattr(house.objects, "write_status", write)
    house.run()
    assert len(house.jobs()) == 20
    assert all(house.holds(f"m-{n}") == {"Created": "True"} for n in range(20))
