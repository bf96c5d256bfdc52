"""Replicas of detector and predictor find each other's snapshots in the object store."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import SecretStr

from services.detector.settings import EngineSettings as DetectorEngine
from services.detector.worker import DetectorWorker
from services.predictor.settings import EngineSettings as PredictorEngine
from services.predictor.worker import PredictorWorker
from shared.samples import encode, from_rows
from shared.service import PartitionWorker
from shared.settings import ServiceSettings
from shared.snapshots import snapshot_store
from tests.conftest import ObjectStoreUnderTest

_BATCH = encode(from_rows([("h", "df.bytes.used.percent", "", 1_700_000_000_000, 41.0)]))


def replica(
    service: str, store: ObjectStoreUnderTest, directory: Path, heavy: ThreadPoolExecutor
) -> PartitionWorker:
    settings = ServiceSettings(
        s3_url=store.url,
        s3_access_key=store.access_key,
        s3_secret_key=SecretStr(store.secret_key),
        state_dir=directory,
    )
    snapshots = snapshot_store(settings, f"{service}/4/3", remote=True)
    if service == "detector":
        return DetectorWorker(3, DetectorEngine(), snapshots)
    return PredictorWorker(3, PredictorEngine(), snapshots, heavy)


@pytest.mark.parametrize("service", ["detector", "predictor"])
def test_a_replica_goes_on_where_another_one_ended(
    service: str, object_store: ObjectStoreUnderTest, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(1) as heavy:
        ended = replica(service, object_store, tmp_path / "first", heavy)
        assert ended.restore() is None
        list(ended.process(11, _BATCH))
        ended.snapshot(11)

        assert replica(service, object_store, tmp_path / "second", heavy).restore() == 11


def test_a_predictor_whose_store_fails_goes_on_forecasting(tmp_path: Path) -> None:
    (tmp_path / "snapshots").write_text("in the way")
    settings = ServiceSettings(state_dir=tmp_path)
    with ThreadPoolExecutor(1) as heavy:
        snapshots = snapshot_store(settings, "predictor/4/0", remote=False)
        worker = PredictorWorker(0, PredictorEngine(), snapshots, heavy)
        worker.snapshot(1)

        assert list(worker.process(2, _BATCH)) == []
