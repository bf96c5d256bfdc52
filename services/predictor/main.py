"""Wiring of the predictor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from services.predictor.settings import Settings
from services.predictor.worker import PredictorWorker
from shared.contracts import CurveAsk
from shared.service import Service
from shared.settings import start
from shared.snapshots import snapshot_store


def make_service(settings: Settings) -> Service:
    """The service, not yet started."""
    heavy = ThreadPoolExecutor(1, thread_name_prefix="forecast")
    remote = settings.snapshots == "s3"

    def worker(partition: int) -> PredictorWorker:
        snapshots = snapshot_store(settings, "predictor", partition, remote=remote)
        return PredictorWorker(partition, settings.engine, snapshots, heavy)

    return Service(
        "predictor",
        settings,
        partition_worker=worker,
        snapshot_every_s=settings.snapshot_every_s,
        answers={CurveAsk: lambda asked, worker: worker.told(asked)},
    )


def run() -> int:
    """Run until told to stop; the exit status is ``settings.start``'s."""
    return start(Settings, "predictor", lambda settings: make_service(settings).run())
