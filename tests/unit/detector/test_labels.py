"""People's labels move a series' own limit for the shape that was judged."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from services.detector.gateway.ingest import Ingest
from services.detector.labels import label_batch
from shared.contracts import AnomalyJudged, SeriesRef
from shared.contracts.alerts import Direction
from shared.samples import decode, encode
from shared.topology import partition_of
from tests.unit.detector.test_engine import _at, _detected, _engine, _feed, _wave


def _label(
    value: float, *, anomaly: bool = False, direction: Direction = Direction.SPIKE, host: str = "m1"
) -> AnomalyJudged:
    return AnomalyJudged(
        label_id=str(uuid.uuid4()),
        series=SeriesRef(host=host, item="queue"),
        direction=direction,
        anomaly=anomaly,
        value=value,
        by="ann",
        at=datetime(2024, 1, 1, tzinfo=UTC),
    )


def _spikes(engine: object, value: float, start: int) -> int:
    quiet = [_at(m, _wave(m)) for m in range(start, start + 60)]
    bad = [_at(m, value) for m in range(start + 60, start + 66)]
    after = [_at(m, _wave(m)) for m in range(start + 66, start + 126)]
    return len(_detected(_feed(engine, [*quiet, *bad, *after])))


def test_what_was_called_normal_is_not_told_again_but_more_of_it_is() -> None:
    engine = _engine()
    assert _spikes(engine, 300.0, 0) == 1
    engine.process(label_batch(_label(300.0)))
    assert _spikes(engine, 300.0, 200) == 0
    assert _spikes(engine, 400.0, 400) == 1


def test_another_shape_and_another_machine_are_judged_as_before() -> None:
    for label in (_label(300.0, direction=Direction.DROP), _label(300.0, host="m2")):
        engine = _engine()
        engine.process(label_batch(label))
        assert _spikes(engine, 300.0, 0) == 1


def test_it_was_one_takes_the_limit_back() -> None:
    engine = _engine()
    engine.process(label_batch(_label(300.0)))
    engine.process(label_batch(_label(300.0, anomaly=True)))
    assert _spikes(engine, 300.0, 0) == 1


def test_labels_are_in_the_snapshot_and_an_older_one_without_them_is_taken() -> None:
    engine, again, old = _engine(), _engine(), _engine()
    engine.process(label_batch(_label(300.0)))
    again.restore(engine.snapshot())
    assert _spikes(again, 300.0, 0) == 0
    arrays = {k: a for k, a in engine.snapshot().items() if "labels" not in k}
    old.restore(arrays)
    assert _spikes(old, 300.0, 0) == 1


def test_a_static_threshold_is_not_learnt_away() -> None:
    engine = _engine()
    label = _label(99.0).model_copy(
        update={"series": SeriesRef(host="m1", item="mem.memused.percent")}
    )
    engine.process(label_batch(label))
    events = _feed(engine, (_at(m, 98.0, "mem.memused.percent") for m in range(5)))
    assert [e.severity.value for e in _detected(events)] == ["critical"]


def test_labels_travel_only_in_batches_of_our_own() -> None:
    sent: list[tuple[int, bytes]] = []

    class Stream:
        def publish_partitions(self, batches: Sequence[tuple[int, bytes, str]]) -> None:
            sent.extend((partition, body) for partition, body, _ in batches)

    ingest = Ingest(Stream(), 4)
    ingest.label(_label(300.0))
    ((partition, body),) = sent
    assert partition == partition_of("m1", 4)
    assert decode(body, trusted=True).judged
    assert decode(body).judged == (), "what comes from outside carries none"
    plain = decode(encode(_at(0, 1.0)), trusted=True)
    assert plain.judged == ()
    assert np.array_equal(plain.value, [1.0])
