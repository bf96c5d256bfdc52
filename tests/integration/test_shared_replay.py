"""A replay over more than one machine: workers share an object store and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from pyarrow import parquet

from shared.storage import S3Store
from tests.conftest import ObjectStoreUnderTest
from tests.unit.replay.recorded import write_parquet

_BUCKET = "recordings"


def test_two_workers_and_a_join_say_byte_for_byte_what_one_replay_says(
    object_store: ObjectStoreUnderTest, tmp_path: Path
) -> None:
    store = S3Store(object_store.url, object_store.access_key, object_store.secret_key)
    store.ensure_bucket(_BUCKET)
    recorded = parquet.read_table(write_parquet(tmp_path / "recorded.parquet"))
    for number in range(2):
        part = tmp_path / f"part-{number}.parquet"
        parquet.write_table(recorded.slice(number * 200, 200 if number == 0 else None), part)
        store.put(_BUCKET, f"week/part-{number}.parquet", part)

    begun = [_begin(object_store, tmp_path, number) for number in range(2)]
    for worker in begun:
        said, _ = worker.communicate()
        assert worker.returncode == 0, said
    joined = _replay(object_store, tmp_path, "--join", f"s3://{_BUCKET}/shares/")
    whole = _replay(object_store, tmp_path, str(tmp_path / "recorded.parquet"))

    assert whole
    assert joined == whole


def _environment(at: ObjectStoreUnderTest) -> dict[str, str]:
    return os.environ | {
        "BAROGRAPH_S3_URL": at.url,
        "BAROGRAPH_S3_ACCESS_KEY": at.access_key,
        "BAROGRAPH_S3_SECRET_KEY": at.secret_key,
    }


def _begin(at: ObjectStoreUnderTest, folder: Path, number: int) -> subprocess.Popen[str]:
    place = f"s3://{_BUCKET}/shares/{number}"
    files = [f"s3://{_BUCKET}/week/", "--share", f"{number}/2", "--to", place]
    # Each has a directory of its own, as on machines of their own.
    own = folder / f"worker-{number}"
    own.mkdir()
    return subprocess.Popen(
        [sys.executable, "-m", "shared.cli", "replay", *files],
        env=_environment(at) | {"TMPDIR": str(own)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _replay(at: ObjectStoreUnderTest, folder: Path, *arguments: str) -> bytes:
    events = folder / "events.jsonl"
    command = [sys.executable, "-m", "shared.cli", "replay", *arguments, "--events", str(events)]
    subprocess.run(command, env=_environment(at), check=True, stdout=subprocess.DEVNULL)
    return events.read_bytes()
