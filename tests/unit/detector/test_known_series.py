"""The gateway's table of series: it grows, it is bounded, and it forgets the right ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.detector.gateway.known import KnownSeries, Limits
from services.detector.gateway.protobuf import label_of, labels_of, pairs_of
from services.detector.gateway.remote_write import Message, Receiver
from shared.samples import InvalidBatch
from tests.remote_write import Series, field, request_1, sample

_NOW = 1_700_000_000_000


class _Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def _series(host: str, number: int) -> Series:
    return {"__name__": "x", "host": host, "n": str(number)}, [(_NOW, float(number))]


def _known(limits: Limits, clock: _Clock) -> KnownSeries:
    return KnownSeries("", limits, lambda _host: 0, clock)


def _read(known: KnownSeries, *series: Series) -> list[int]:
    data = np.frombuffer(request_1(*series), dtype=np.uint8)
    known.make_room()
    return known.read(data, second=False).series.tolist()


def test_a_series_keeps_its_number_while_the_table_grows() -> None:
    known = _known(Limits(), _Clock())
    first = _read(known, *(_series(f"h{n % 7}", n) for n in range(5000)))
    assert first == list(range(5000))
    assert _read(known, *(_series(f"h{n % 7}", n) for n in reversed(range(5000)))) == first[::-1]
    assert [known.columns.labels[n] for n in (0, 4999)] == ['{"n":"0"}', '{"n":"4999"}']
    assert [known.columns.hosts[known.columns.host[n]] for n in (0, 8)] == ["h0", "h1"]


def test_a_series_is_itself_whatever_it_comes_after_and_however_it_is_written() -> None:
    known = _known(Limits(), _Clock())
    samples = sample(_NOW, 1.0)
    short = [field(1, field(1, k) + field(2, v)) for k, v in ((b"__name__", b"x"), (b"host", b"h"))]
    longer = field(1, field(1, b"n") + field(2, b"1"))
    written = {
        "other": [*short, field(1, field(1, b"a") + field(2, b"1")), samples],
        "short": [*short, samples],
        "longer": [*short, longer, samples],
        "longer, in two pieces": [*short, samples, longer],
        "as another": [short[0], samples],
    }

    def numbers(*names: str) -> list[int]:
        data = b"".join(field(1, b"".join(written[name])) for name in names)
        return known.read(np.frombuffer(data, dtype=np.uint8), second=False).series.tolist()

    # The second follows the first: whoever comes in its place must not be taken for it.
    assert numbers("other", "short", "longer", "as another") == [0, 1, 2, 3]
    assert numbers("other", "longer") == [0, 2]
    assert numbers("other", "longer, in two pieces") == [0, 2]
    assert numbers("short", "longer, in two pieces", "as another", "other") == [1, 2, 3, 0]
    assert numbers("other", "short", "short", "longer") == [0, 1, 1, 2]


def _hosts(known: KnownSeries, *labels: dict[str, str]) -> list[str]:
    numbers = _read(known, *((each, [(_NOW, 1.0)]) for each in labels))
    return [known.columns.hosts[known.columns.host[number]] for number in numbers]


_TARGET = {"job": "app", "instance": "10.0.0.1:80"}


def test_a_virtual_host_is_no_machine_but_a_targets_own_host_is() -> None:
    page = _TARGET | {"__name__": "caddy_requests", "host": "www.example.com"}
    assert _hosts(_known(Limits(), _Clock()), page) == ["10.0.0.1"]
    # Whatever comes first of a target: its label is on what Prometheus adds by itself, too.
    queue = _TARGET | {"__name__": "queue", "host": "web1"}
    up = _TARGET | {"__name__": "up", "host": "web1"}
    for request in ([queue, up], [up, queue]):
        assert _hosts(_known(Limits(), _Clock()), *request) == ["web1", "web1"]
    known = _known(Limits(), _Clock())
    assert _hosts(known, queue) == ["10.0.0.1"]
    assert _hosts(known, up, queue) == ["web1", "web1"]
    # Another target's label says nothing of this one.
    assert _hosts(known, page | {"instance": "10.0.0.2:80"}) == ["10.0.0.2"]


@pytest.mark.parametrize(
    "name",
    ["go_x", "process_x", "node_x", "scrape_x", "promhttp_x", "up", "scrape_duration_seconds"],
)
@pytest.mark.parametrize("honest_first", [True, False])
def test_no_program_moves_its_series_to_another_machine(name: str, *, honest_first: bool) -> None:
    known = _known(Limits(), _Clock())
    queue = _TARGET | {"__name__": "queue", "host": "db1"}
    own, honest = queue | {"__name__": name}, _TARGET | {"__name__": "up"}
    for series in (honest, own) if honest_first else (queue, own, honest):
        _hosts(known, series)
    assert set(_hosts(known, own, queue, queue | {"n": "2"}, honest)) == {"10.0.0.1"}


def test_a_series_that_turns_out_to_be_of_another_machine_counts_for_that_one() -> None:
    known = _known(Limits(host_series=2), _Clock())
    queue = _TARGET | {"__name__": "queue", "host": "web1"}
    _hosts(known, queue | {"n": "1"}, queue | {"n": "2"})
    _hosts(known, _TARGET | {"__name__": "up", "host": "web1"})
    assert _hosts(known, {"__name__": "x", "host": "10.0.0.1"}) == ["10.0.0.1"]
    (full,) = _read(known, (queue | {"n": "2"}, [(_NOW, 1.0)]))
    assert "web1 has 2 series" in known.fault(full)


def test_the_label_that_a_setting_names_comes_before_all_others() -> None:
    known = _known(Limits(machine_label="nodename"), _Clock())
    page = _TARGET | {"__name__": "x", "host": "www.example.com"}
    assert _hosts(known, page | {"nodename": "web7"}, page) == ["web7", "10.0.0.1"]


def test_at_the_bound_series_not_heard_of_make_room() -> None:
    clock = _Clock()
    known = _known(Limits(series=10, forget_s=100), clock)
    _read(known, *(_series("old", n) for n in range(6)))
    clock.now = 90
    _read(known, *(_series("new", n) for n in range(4)))
    assert _read(known, _series("new", 9)) == [-2]
    clock.now = 150
    assert _read(known, _series("new", 9), _series("new", 3)) == [4, 3]
    assert len(known) == 5
    assert list(known.columns.hosts) == ["new"]
    assert [known.columns.labels[n] for n in range(5)] == [
        f'{{"n":"{n}"}}' for n in (0, 1, 2, 3, 9)
    ]
    assert known.nbytes < 10_000_000


def test_a_crowded_machine_gets_new_series_when_old_ones_are_forgotten() -> None:
    clock = _Clock()
    known = _known(Limits(host_series=3, forget_s=100), clock)
    (last,) = _read(known, *(_series("h", n) for n in range(4)))[3:]
    assert "h has 3 series and gets no new ones" in known.fault(last)
    clock.now = 200
    (now,) = _read(known, _series("h", 3))
    assert known.fault(now) == ""


def test_requests_that_wait_together_become_one_batch_a_partition() -> None:
    receiver = Receiver("", lambda host: int(host == "b"))
    for number in range(3):
        raw = request_1(_series("a", number), _series("b", number))
        received = receiver.read(np.frombuffer(raw, np.uint8), Message.V1, _NOW)
        assert (received.taken, received.faults) == (2, [])
    (zero, first), (one, second) = receiver.batches()
    assert (zero, one, first.hosts, second.hosts) == (0, 1, ["a"], ["b"])
    assert first.value.tolist() == second.value.tolist() == [0.0, 1.0, 2.0]
    assert [first.labels[code] for code in first.label_code] == [f'{{"n":"{n}"}}' for n in range(3)]
    assert receiver.batches() == []


_label = st.tuples(st.text(max_size=150), st.text(max_size=150))


@settings(deadline=None)
@given(labels=st.lists(_label, max_size=6), at=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_the_quick_way_to_read_labels_reads_what_the_thorough_one_reads(
    labels: list[tuple[str, str]], at: int, byte: int
) -> None:
    encoded = b"".join(
        field(1, field(1, name.encode()) + field(2, value.encode())) for name, value in labels
    )
    assert pairs_of(encoded) == labels
    if encoded:
        place = at % len(encoded)
        changed = encoded[:place] + bytes([byte]) + encoded[place + 1 :]
        assert _outcome(changed, quick=True) == _outcome(changed, quick=False)


def _outcome(encoded: bytes, *, quick: bool) -> object:
    try:
        if quick:
            return pairs_of(encoded)
        return [label_of(label) for label in labels_of(encoded)]
    except (InvalidBatch, UnicodeDecodeError) as error:
        return type(error)


def test_samples_that_wait_keep_their_series_while_others_are_forgotten() -> None:
    clock = _Clock()
    receiver = Receiver("", lambda _host: 0, Limits(series=10, forget_s=100), clock)

    def read(*series: Series) -> None:
        receiver.read(np.frombuffer(request_1(*series), dtype=np.uint8), Message.V1, _NOW)

    read(*(_series("h", n) for n in range(9)))
    receiver.batches()
    clock.now = 50
    read()
    clock.now = 105
    read(_series("h", 8))
    # By now the others may be forgotten, and 8 would get another number.
    clock.now = 115
    read(_series("h", 7))
    ((_, batch),) = receiver.batches()
    labels = [batch.labels[code] for code in batch.label_code]
    assert list(zip(labels, batch.value.tolist(), strict=True)) == [
        ('{"n":"8"}', 8.0),
        ('{"n":"7"}', 7.0),
    ]
    read(_series("h", 7))
    assert len(receiver.known) == 2


def test_text_of_names_is_bounded_like_their_number() -> None:
    known = _known(Limits(series=50), _Clock())
    long = [
        ({"__name__": "x", "host": "h", "n": str(n), "q": "x" * 30_000}, [(_NOW, 1.0)])
        for n in range(4)
    ]
    assert _read(known, *long) == [0, 1, 2, 3]
    assert _read(known, _series("h", 1)) == [-2]
    assert _read(known, long[2]) == [2]
