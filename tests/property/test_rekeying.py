"""The number of partitions is raised while samples flow: nothing is told otherwise than without."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from services.detector.rekeying import select as select_detector
from services.detector.settings import EngineSettings as DetectorEngine
from services.detector.worker import DetectorWorker
from services.healer.health.records import Book
from services.healer.health.rekeying import select as select_healer
from services.healer.health.worker import HealthWorker
from services.predictor.rekeying import select as select_predictor
from services.predictor.settings import EngineSettings as PredictorEngine
from services.predictor.worker import PredictorWorker
from shared.contracts import Message
from shared.rekeying import NotTakenOver, PartitionSnapshots
from shared.samples import encode, from_rows
from shared.service import PartitionWorker
from shared.settings import ServiceSettings
from shared.snapshots import SnapshotStore
from shared.store import Store
from shared.topology import partition_of

HOSTS, STEPS, STEP_MS = 10, 40, 60_000
_DEATHS = 3
"""So many batches of each partition are begun by processes that die."""
START_MS = 1_750_000_000_000
Make = Callable[[int, SnapshotStore], PartitionWorker]
SELECTS = {"detector": select_detector, "predictor": select_predictor, "healer": select_healer}

_DETECTOR = DetectorEngine.model_validate(
    {
        "combination": {"mode": "branch", "aperiodic_needed": 1},
        "detectors": {
            "short_term": {"window_points": 20, "blocks": 4, "min_points": 8},
            "long_term": {"min_points": 8, "settle": 3},
        },
    }
)
_PREDICTOR = PredictorEngine(resolution_s=60, forecasters={"arima": {"max_p": 1, "max_q": 1}})


@pytest.fixture(scope="module")
def heavy() -> Iterator[Executor]:
    with ThreadPoolExecutor(1) as executor:
        yield executor


@pytest.fixture(params=sorted(SELECTS))
def service(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(service: str, heavy: Executor) -> Make:
    if service == "detector":
        return lambda number, store: DetectorWorker(number, _DETECTOR, store)
    if service == "predictor":
        return lambda number, store: PredictorWorker(number, _PREDICTOR, store, heavy)
    return lambda number, store: HealthWorker(number, store, Book(Store("sqlite://")))


def rows(step: int) -> Iterator[tuple[str, str, str, int, float]]:
    """A disk that fills, a noisy level that jumps, a counter, and machines that fall silent."""
    chance, at = np.random.default_rng(step), START_MS + step * STEP_MS
    for number in range(HOSTS):
        host = f"host{number}"
        noise = float(chance.normal())
        if number % 5 == 4 and step > STEPS // 3:
            continue
        yield host, "df.bytes.used.percent", '{"mount":"/"}', at, 40 + 1.4 * step + noise / 5
        jump = 60.0 if step % 17 == number % 17 else 0.0
        yield host, "cpu.idle", "", at, 30 + noise + jump
        yield host, "node_network_receive_bytes_total", '{"device":"eth0"}', at, float(step * 1000)


class Streams:
    """Each partition's batches; the streams' names and offsets outlive a change of their number."""

    def __init__(self) -> None:
        self.appended: dict[int, list[bytes]] = defaultdict(list)
        self.numbers: dict[int, list[int]] = defaultdict(list)

    def append(self, step: int, partitions: int) -> None:
        parts: dict[int, list[tuple[str, str, str, int, float]]] = defaultdict(list)
        for row in rows(step):
            parts[partition_of(row[0], partitions)].append(row)
        for number in range(partitions):
            clock = START_MS + step * STEP_MS
            self.appended[number].append(encode(from_rows(parts[number], clock_ms=clock)))
            self.numbers[number].append(partitions)

    def number_after(self, number: int, offset: int) -> int | None:
        following = self.numbers[number][offset + 1 :]
        return following[0] if following else None


def told(
    service: str, make: Make, folder: Path, numbers: tuple[int, int], streams: Streams
) -> list[Message]:
    """Work all streams from where the snapshots are to their ends; snapshots, and what follows."""
    before, now = numbers
    settings = ServiceSettings(
        state_dir=folder, metric_partitions=now, metric_partitions_before=before
    )
    messages: list[Message] = []
    for number in range(now):
        select = SELECTS[service]
        snapshots = PartitionSnapshots(
            settings, service, number, select, streams.number_after, remote=False
        )
        worker = make(number, snapshots)
        offset = worker.restore()
        for at in range(0 if offset is None else offset + 1, len(streams.appended[number])):
            messages += worker.process(at, streams.appended[number][at])
            offset = at
        if offset is not None:
            worker.snapshot(offset)
        worker.close()
    return messages


def texts(messages: list[Message]) -> list[str]:
    return sorted(f"{message.TYPE} {message.model_dump_json()}" for message in messages)


def raised_halfway(
    service: str, make: Make, folder: Path, before: int, now: int
) -> tuple[Streams, Streams, list[Message]]:
    """Streams whose number is raised halfway, those that had it all along, and what was told."""
    raised, undisturbed = Streams(), Streams()
    found: list[Message] = []
    for step in range(STEPS):
        undisturbed.append(step, now)
        raised.append(step, before if step < STEPS // 2 else now)
        if step == STEPS // 2 - 1:
            found += told(service, make, folder, (0, before), raised)
    return raised, undisturbed, found


def test_a_raised_number_tells_what_the_raised_number_from_the_start_would(
    service: str, make: Make, tmp_path: Path
) -> None:
    before, now = 2, 6
    raised, undisturbed, found = raised_halfway(service, make, tmp_path / "raised", before, now)
    found += told(service, make, tmp_path / "raised", (before, now), raised)

    wanted = told(service, make, tmp_path / "undisturbed", (0, now), undisturbed)

    assert len(wanted) >= HOSTS // 2
    assert texts(found) == texts(wanted)


def test_what_is_not_finished_or_of_another_number_is_not_taken_over(
    service: str, make: Make, tmp_path: Path
) -> None:
    streams = Streams()
    streams.append(0, 2)
    told(service, make, tmp_path, (0, 2), streams)

    with pytest.raises(NotTakenOver, match=r"of 2 partitions, not of 4: give METRIC_PARTITIONS"):
        told(service, make, tmp_path, (0, 4), streams)
    with pytest.raises(NotTakenOver, match=r"ends at 0, and no batch of a gateway with the new"):
        told(service, make, tmp_path, (2, 4), streams)
    streams.append(1, 2)
    with pytest.raises(NotTakenOver, match=r"partition 0 of 2 was not worked to its end"):
        told(service, make, tmp_path, (2, 4), streams)
    # The old number finishes it.
    told(service, make, tmp_path, (0, 2), streams)
    streams.append(2, 4)
    told(service, make, tmp_path, (2, 4), streams)


def test_snapshots_of_a_version_without_numbers_are_taken_if_the_number_is_theirs(
    service: str, make: Make, tmp_path: Path
) -> None:
    streams = Streams()
    streams.append(0, 2)
    told(service, make, tmp_path, (0, 2), streams)
    folder = tmp_path / "snapshots" / service
    for number in range(2):
        (folder / "2" / str(number)).rename(folder / f"old{number}")
    (folder / "2").rmdir()
    for number in range(2):
        (folder / f"old{number}").rename(folder / str(number))

    with pytest.raises(NotTakenOver, match="the snapshots are not of 4 partitions"):
        told(service, make, tmp_path, (0, 4), streams)
    streams.append(1, 2)
    before = len(streams.appended[0])
    told(service, make, tmp_path, (0, 2), streams)
    assert len(list((folder / "2" / "0").iterdir())) == 1
    assert before == 2


def test_services_that_die_at_every_step_of_raising_tell_the_same(
    service: str, make: Make, tmp_path: Path
) -> None:
    before, now = 2, 4
    raised, undisturbed, found = raised_halfway(service, make, tmp_path / "raised", before, now)
    settings = ServiceSettings(
        state_dir=tmp_path / "raised", metric_partitions=now, metric_partitions_before=before
    )
    for _, number in product(range(_DEATHS), range(now)):
        for keeps in (False, True):  # it dies after it has published, or after the snapshot
            snapshots = PartitionSnapshots(
                settings, service, number, SELECTS[service], raised.number_after, remote=False
            )
            worker = make(number, snapshots)
            offset = worker.restore()
            at = 0 if offset is None else offset + 1
            found += worker.process(at, raised.appended[number][at])
            if keeps:
                worker.snapshot(at)
            worker.close()
    found += told(service, make, tmp_path / "raised", (before, now), raised)

    wanted = told(service, make, tmp_path / "undisturbed", (0, now), undisturbed)
    # What was published before a death comes again, as the same message.
    assert set(texts(found)) == set(texts(wanted))
