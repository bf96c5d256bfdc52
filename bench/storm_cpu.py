"""The healer's CPU in an alert storm, by deterministic replay: no broker, no waiting, a set clock.

The storm of ``bench.storm`` goes through the real inlet, handlers and announcer on a real SQLite
file. The clock is set: each batch moves it by what the batch lasts at ``--rate``, and the passes
run as often as the service would run them. Printed are CPU seconds of the one thread for 1,000
alerts, by kind of work, and the longest single pieces of work: each holds the database or the
interpreter, so a change waits for it. With ``--profile`` it is printed where the CPU goes. The last
line is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import FrameType

from pydantic import SecretStr

from bench.storm import RULES
from services.healer.incidents.expiry import Batch
from services.healer.main import HealerService
from services.healer.notify.announcer import Part
from services.healer.settings import HealerSettings
from shared.contracts import AnomalyDetected
from shared.embedded.mailbox import EmbeddedMailbox
from shared.loading import keep_what_is_loaded
from shared.messaging import Bus, Delivery, Outgoing
from shared.observe import configure_logging
from shared.service.inlet import Inlet
from shared.topology import Principal
from tests.storms import alerts

_NOWHERE = "amqp://nobody:nothing@localhost:1/none"
_QUEUE = "healer"
_PASS_S = 0.1
"""The shortest time between two passes of the announcer."""
_UPKEEP = timedelta(seconds=0.5)
"""The same between two looks of its for what is due at a time."""


class Meter:
    """CPU of this thread by kind of work, and the longest pieces."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[float]] = defaultdict(list)

    def __call__(self, kind: str, work: Callable[[], None]) -> None:
        began = time.thread_time()
        work()
        self.pieces[kind].append(time.thread_time() - began)


class Sampler:
    """Samples where the process's CPU time goes, once in each millisecond of it, which costs
    little.
    """

    def __init__(self) -> None:
        self._own: Counter[str] = Counter()
        self._within: Counter[str] = Counter()
        self._total = 0

    def start(self) -> None:
        signal.signal(signal.SIGPROF, self._look)
        signal.setitimer(signal.ITIMER_PROF, 0.001, 0.001)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)

    def _look(self, _number: int, frame: FrameType | None) -> None:
        self._total += 1
        if frame is not None:
            self._own[f"{_name(frame)}:{frame.f_lineno}"] += 1
        names = set()
        while frame is not None:
            names.add(_name(frame))
            frame = frame.f_back
        self._within.update(names)

    def report(self, lines: int) -> str:
        """Shares of the samples: by the line that ran, and by the functions that it ran within."""
        found = []
        for title, counted in (("own line", self._own), ("within", self._within)):
            found.append(f"{title}, of {self._total} samples")
            found += [f"{n / self._total:7.1%}  {name}" for name, n in counted.most_common(lines)]
        return "\n".join(found)


def _name(frame: FrameType) -> str:
    code = frame.f_code
    return f"{'/'.join(code.co_filename.split('/')[-3:])} {code.co_qualname}"


class Replayed(HealerService):
    """The healer on a set clock, whose messages reach nobody."""

    def __init__(self, settings: HealerSettings) -> None:
        self.now = datetime.now(UTC)
        self.published, self._upkeep_due = 0, self.now
        super().__init__(settings)
        self._clock = lambda: self.now
        self.bus.publish_prepared = self._take
        self.inlet = Inlet(
            self.bus, self._handlers, self.store, self._clock, read_ahead=self._read_ahead
        )

    def _take(self, outgoing: Sequence[Outgoing], timeout_s: float = 60.0) -> None:
        self.published += len(outgoing)

    def _expire_batch(self, batch: Batch) -> None:
        if batch is not self._healing.expiry.clock:  # which would notice that the clock is set
            super()._expire_batch(batch)

    def passes(self, meter: Meter) -> None:
        """One pass of the announcer, its look and each of its transactions by itself."""
        parts: list[Part] = []
        announcer = self._healing.announcer
        if self.now >= self._upkeep_due:
            self._upkeep_due = self.now + _UPKEEP
            meter("upkeep", lambda: self._in_transaction(announcer.upkeep))

        def look() -> None:
            with self._records.reading() as records:
                parts.extend(announcer.parts(self.context(records)))

        meter("look", look)
        for part in parts:
            meter("part", lambda part=part: self._in_transaction(part))

    def every_second(self, meter: Meter) -> None:
        """Do what the service does each second besides."""
        meter("expire", self._expire)
        for each in self._periodic:
            if each.name.startswith("channel-"):
                meter("channel", each.run)


def deliveries(storm: Sequence[AnomalyDetected]) -> list[Delivery]:
    """The storm as the broker would deliver it."""
    bus = Bus(_NOWHERE, Principal.DETECTOR, "storm")
    found = []
    for tag, alert in enumerate(storm, 1):
        out = bus.prepare(alert)
        key, headers = out.routing_key, out.headers
        message_id, kind = out.message_id, out.content_type
        found.append(Delivery(_QUEUE, tag, out.exchange, key, headers, message_id, kind, out.body))
    return found


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--alerts", type=int, default=10_000)
    parser.add_argument("--rate", type=float, default=1000.0)
    parser.add_argument("--roots", type=int, default=20)
    parser.add_argument("--batch", type=int, default=60, help="alerts in a delivered batch")
    parser.add_argument("--settle", type=float, default=40.0, help="seconds after the last alert")
    parser.add_argument("--profile", type=int, default=0, help="lines of a profile to print")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, (Path(name) / "log").open("w") as log:
        out, sys.stderr = sys.stderr, log
        configure_logging()
        mailbox = EmbeddedMailbox(Path(name) / "mail")
        mailbox.start()
        try:
            figures = _measured(Path(name), mailbox, options)
        finally:
            mailbox.stop()
            sys.stderr = out
    print(json.dumps(figures))
    return 0


def _measured(
    folder: Path, mailbox: EmbeddedMailbox, options: argparse.Namespace
) -> dict[str, object]:
    settings = HealerSettings(
        broker_url=SecretStr(_NOWHERE),
        store_url=SecretStr(f"sqlite:///{folder}/healer.db"),
        state_dir=folder,
        alerting={"inhibit": RULES},
        canary_every_s=0,
        http_port=0,
        smtp_url=SecretStr(mailbox.url),
    )
    service = Replayed(settings)
    storm = deliveries(alerts(options.alerts, options.roots))
    keep_what_is_loaded()
    meter, profile = Meter(), Sampler()
    if options.profile:
        profile.start()
    began = time.thread_time()
    _play(service, storm, options, meter)
    spent = time.thread_time() - began
    if options.profile:
        profile.stop()
        print(profile.report(options.profile))
    return {
        "alerts": options.alerts,
        "published": service.published,
        "mails": len(mailbox.messages()),
        "cpu_s_per_1000": round(1000 * spent / options.alerts, 3),
        "cpu_s": {kind: round(sum(took), 2) for kind, took in meter.pieces.items()},
        "longest_s": {kind: round(max(took), 3) for kind, took in meter.pieces.items()},
        "cheapest_batch_s_per_1000": round(1000 * min(meter.pieces["batch"]) / options.batch, 3),
        "load": round(os.getloadavg()[0], 1),
    }


def _play(
    service: Replayed, storm: Sequence[Delivery], options: argparse.Namespace, meter: Meter
) -> None:
    begin, passed, second = service.now, service.now, service.now
    step = timedelta(seconds=options.batch / options.rate)
    end = begin + timedelta(seconds=len(storm) / options.rate + options.settle)
    start = 0
    while service.now < end:
        part = storm[start : start + options.batch]
        if part:
            meter("batch", lambda part=part: service.inlet.handle(part))
        start += options.batch
        if service.now - passed >= timedelta(seconds=_PASS_S if part else 1):
            service.passes(meter)
            passed = service.now
        if service.now - second >= timedelta(seconds=1):
            service.every_second(meter)
            second = service.now
        service.now += step


if __name__ == "__main__":
    sys.exit(main())
