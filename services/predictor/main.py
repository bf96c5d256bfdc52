"""Wiring of the predictor."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from services.predictor.rekeying import select
from services.predictor.settings import Settings
from services.predictor.worker import PredictorWorker
from shared.contracts import CurveAsk, ScoresAsk
from shared.rekeying import PartitionSnapshots
from shared.service import Service
from shared.settings import start


def make_service(settings: Settings) -> Service:
    """The service, not yet started."""
    heavy = ThreadPoolExecutor(1, thread_name_prefix="forecast")
    remote = settings.snapshots == "s3"

    def worker(partition: int) -> PredictorWorker:
        number_after = service.bus.number_after
        snapshots = PartitionSnapshots(
            settings, "predictor", partition, select, number_after, remote=remote
        )
        return PredictorWorker(partition, settings.engine, snapshots, heavy)

    service = Service(
        "predictor",
        settings,
        partition_worker=worker,
        snapshot_every_s=settings.snapshot_every_s,
        answers={
            CurveAsk: lambda asked, worker: worker.answer(asked),
            ScoresAsk: lambda asked, worker: worker.scores(asked, settings.metric_partitions),
        },
    )
    return service


def run() -> int:
    """Run until a signal asks for the end; the exit status is ``settings.start``'s."""
    return start(Settings, "predictor", lambda settings: make_service(settings).run())
