"""Wiring of the predictor."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor

from services.predictor.settings import Settings
from services.predictor.worker import PredictorWorker
from shared.service import Service
from shared.settings import SettingsError
from shared.snapshots import snapshot_store


def make_service(settings: Settings) -> Service:
    """The service, not yet started."""
    heavy = ThreadPoolExecutor(1, thread_name_prefix="forecast")
    remote = settings.snapshots == "s3"

    def worker(partition: int) -> PredictorWorker:
        snapshots = snapshot_store(settings, "predictor", partition, remote=remote)
        return PredictorWorker(partition, settings.engine, snapshots, heavy)

    return Service(
        "predictor", settings, partition_worker=worker, snapshot_every_s=settings.snapshot_every_s
    )


def run() -> int:
    """Exit status 2 for settings that are not usable."""
    try:
        settings = Settings.load("predictor")
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    make_service(settings).run()
    return 0
