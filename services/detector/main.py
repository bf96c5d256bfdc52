"""Wiring of the detector."""

from __future__ import annotations

import structlog

from services.detector.gateway.amqp import SampleInlet
from services.detector.gateway.http import make_app
from services.detector.gateway.ingest import Ingest
from services.detector.rekeying import select
from services.detector.settings import EngineSettings, Settings, series_that_fit
from services.detector.worker import DetectorWorker
from shared.changes import changed
from shared.contracts import CurveAsk, SeriesSearch, ThresholdTry
from shared.rekeying import PartitionSnapshots
from shared.service import Periodic
from shared.service.http import HttpServer
from shared.service.http_service import HttpService
from shared.service.inlet import utc_now
from shared.settings import start

log = structlog.get_logger(__name__)
_QUEUE = "detector.samples"
_LONGEST_CONFIRM_S = 10.0
"""A broker that confirms nothing for so long is unavailable: senders keep their samples better."""


class Detector:
    """The service in its roles: it judges streams, its gateway fills them, or both."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._judging = settings, self._bounded(settings)
        takes_in = "gateway" in settings.roles
        heartbeat = Periodic("heartbeat", settings.heartbeat_s, self._beat)
        self.service = HttpService(
            "detector",
            settings,
            partition_worker=self._worker if "judge" in settings.roles else None,
            snapshot_every_s=settings.snapshot_every_s,
            periodic=[heartbeat] if takes_in and settings.heartbeat_s else [],
            answers={
                SeriesSearch: lambda asked, worker: worker.found(asked, settings.metric_partitions),
                CurveAsk: lambda asked, worker: worker.answer(asked),
                ThresholdTry: lambda asked, worker: worker.tried(asked),
            },
        )
        self._gateway = self._opened() if takes_in else None

    @property
    def gateway(self) -> HttpServer:
        """The HTTP server of the gateway, for a detector in that role."""
        if self._gateway is None:
            msg = "this detector takes no samples in"
            raise LookupError(msg)
        return self._gateway

    def _opened(self) -> HttpServer:
        """The gateway's doors: the broker's queue, and HTTP, which is not yet started."""
        settings, bus = self._settings, self.service.bus
        self._ingest = Ingest(
            bus, settings.metric_partitions, ahead_ms=round(settings.gateway_ahead_s * 1000)
        )
        bus.consume(_QUEUE, SampleInlet(bus, self._ingest, utc_now).handle)
        app = make_app(settings, self._ingest, self._away)
        http = HttpServer(app, settings.gateway_host, settings.gateway_port, grace_s=None)
        self.service.serve(http)
        return http

    @staticmethod
    def _bounded(settings: Settings) -> EngineSettings:
        """The engine's settings, with at most the series that this process's memory holds."""
        judging = settings.judging()
        fit = max(1000, series_that_fit() // settings.metric_partitions)
        return changed(judging, max_series=min(judging.max_series, fit))

    def _away(self) -> str:
        """Return why no samples can be published now; nothing while they can."""
        bus = self.service.bus
        if not bus.ready:
            return bus.last_error or "the broker is not connected yet"
        if bus.blocked:
            return f"the broker blocks publishers: {bus.blocked}"
        silent_s = bus.unconfirmed_s
        late = silent_s > _LONGEST_CONFIRM_S
        return f"the broker has confirmed nothing for {silent_s:.0f} s" if late else ""

    def _beat(self) -> None:
        # Before the streams are declared there is nowhere to put it.
        if self.service.bus.ready:
            self._ingest.heartbeat()

    def _worker(self, partition: int) -> DetectorWorker:
        settings = self._settings
        remote, number_after = settings.snapshots == "s3", self.service.bus.number_after
        snapshots = PartitionSnapshots(
            settings, "detector", partition, select, number_after, remote=remote
        )
        return DetectorWorker(partition, self._judging, snapshots)

    def run(self) -> None:
        """Work until a signal asks for the end."""
        self.service.run()


def run() -> int:
    """Run until a signal asks for the end; the exit status is ``settings.start``'s."""
    return start(Settings, "detector", lambda settings: Detector(settings).run())
