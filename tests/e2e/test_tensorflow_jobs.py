"""The four examples as real jobs: TensorFlow trains, the model comes back and loads."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from services.task.runtimes.member_files import launcher_of
from shared.contracts import JobState
from tests.brokers import BrokerUnderTest
from tests.conftest import ObjectStoreUnderTest
from tests.jobs import JobPlatform
from tests.waiting import eventually

EXAMPLES = Path(__file__).parents[2] / "examples"
MEMORY = {"cpu": 2, "memory": "3Gi"}
PS_CLUSTER = {"type": "distribute", "chief": True, "ps": 1, "workers": 2}


@pytest.fixture(scope="module")
def platform(
    broker: BrokerUnderTest,
    object_store: ObjectStoreUnderTest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[JobPlatform]:
    running = JobPlatform(broker, object_store, tmp_path_factory.mktemp("tensorflow"))
    running.start()
    yield running
    running.stop()


def submit(platform: JobPlatform, example: str, **fields: Any) -> str:
    package = platform.package_folder(EXAMPLES / example)
    return platform.submit(package, main="train.py", resources=MEMORY, **fields)


def check_end(platform: JobPlatform, job_id: str, decider: str, members: tuple[str, ...]) -> Any:
    """The job succeeded, its last line is stored, and soon nothing of it is left."""
    end = platform.wait_end(job_id)
    log = platform.stored_log(job_id, decider)
    assert end.state is JobState.SUCCEEDED, f"{end.reason}\n{log[-3000:]}"
    eventually(
        lambda: (
            not platform.launchers(job_id)
            and not any(platform.processes(job_id, m, n) for m in members for n in (1, 2))
        ),
        "nothing of it is left",
        pause_s=0.05,
    )
    assert "done: test accuracy 0." in log.splitlines()[-1]
    assert float(log.split("accuracy ")[-1]) > 0.8
    return end


def fetch_model(platform: JobPlatform, end: Any, target: Path) -> Path:
    """The job's model as it lies in the store."""
    prefix = f"jobs/{end.job_id}/model/"
    for artifact in end.artifacts:
        if artifact.key.startswith(prefix):
            file = target / artifact.key.removeprefix(prefix)
            file.parent.mkdir(parents=True, exist_ok=True)
            platform.store.fetch(artifact.bucket, artifact.key, file)
            assert file.stat().st_size == artifact.size
    return target


def answers(model: Path, signature: bool = False) -> np.ndarray[Any, Any]:
    import tensorflow as tf

    loaded = tf.saved_model.load(str(model / "digits"))
    pixels = tf.zeros((3, 64))
    if signature:
        return np.asarray(loaded.signatures["serving_default"](pixels)["logits"])
    return np.asarray(loaded(pixels))


def test_a_single_job_trains_and_its_model_loads(platform: JobPlatform, tmp_path: Path) -> None:
    job_id = submit(platform, "digits-single")
    end = check_end(platform, job_id, "worker-0", ("worker-0",))
    import tensorflow as tf

    model = tf.keras.models.load_model(fetch_model(platform, end, tmp_path) / "digits.keras")
    assert model(tf.zeros((3, 64))).shape == (3, 10)


def test_a_tensorflow_1_cluster_trains_by_its_flags(platform: JobPlatform, tmp_path: Path) -> None:
    job_id = submit(
        platform, "digits-flags", type="distribute", ps=1, workers=2, cluster_style="flags"
    )
    end = check_end(platform, job_id, "worker-0", ("ps-0", "worker-0", "worker-1"))
    assert answers(fetch_model(platform, end, tmp_path), signature=True).shape == (3, 10)


def test_a_multi_worker_job_trains(platform: JobPlatform, tmp_path: Path) -> None:
    job_id = submit(platform, "digits-multiworker", type="distribute", workers=2)
    end = check_end(platform, job_id, "worker-0", ("worker-0", "worker-1"))
    assert answers(fetch_model(platform, end, tmp_path)).shape == (3, 10)


def test_a_parameter_server_job_trains_and_its_ps_is_gone_afterwards(
    platform: JobPlatform, tmp_path: Path
) -> None:
    job_id = submit(platform, "digits-ps", **PS_CLUSTER)
    end = check_end(platform, job_id, "chief-0", ("chief-0", "ps-0", "worker-0", "worker-1"))
    assert answers(fetch_model(platform, end, tmp_path)).shape == (3, 10)


def kill(platform: JobPlatform, job_id: str, member: str, victim: str) -> None:
    """End the first incarnation's program, or the launcher that would have told of its end."""
    launcher = launcher_of(platform.settings.work_dir / job_id / member / "1")
    assert launcher is not None
    pids = [launcher.pid] if victim == "launcher" else platform.processes(job_id, member)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("victim", ["program", "launcher"])
def test_a_worker_killed_in_mid_training_is_replaced_at_a_new_port_and_the_job_finishes(
    platform: JobPlatform, victim: str
) -> None:
    job_id = submit(platform, "digits-ps", **PS_CLUSTER, args=["--steps", "3000"])
    platform.wait_log(job_id, "step 200/3000")
    kill(platform, job_id, "worker-1", victim)
    retrying = platform.wait_for(job_id, "job.retrying")
    assert retrying.member == "worker-1"
    check_end(platform, job_id, "chief-0", ("chief-0", "ps-0", "worker-0", "worker-1"))
    log = platform.stored_log(job_id, "chief-0")
    assert "membership changed to epoch 2" in log
    begun = [int(line.split()[3]) for line in log.splitlines() if line.startswith("training from")]
    assert begun[0] == 0
    assert len(begun) == 2, "started twice: with each epoch once"
    assert begun[1] >= 100, "went on from the checkpoint"


@pytest.mark.parametrize("victim", ["program", "launcher"])
def test_a_killed_worker_of_an_elastic_job_joins_the_others_which_go_on_meanwhile(
    platform: JobPlatform, victim: str
) -> None:
    job_id = submit(platform, "digits-ps", **PS_CLUSTER, elastic=True, args=["--steps", "6000"])
    platform.wait_log(job_id, "step 200/6000")
    kill(platform, job_id, "worker-1", victim)
    retrying = platform.wait_for(job_id, "job.retrying")
    assert (retrying.member, retrying.state) == ("worker-1", JobState.RUNNING)
    platform.until(
        lambda: platform.told(job_id)[-1].TYPE == "job.running", "the worker is back", job_id
    )
    check_end(platform, job_id, "chief-0", ("chief-0", "ps-0", "worker-0", "worker-1"))
    log = platform.stored_log(job_id, "chief-0")
    assert "membership changed" not in log
    assert log.count("training from step") == 1
    assert platform.stored_log(job_id, "worker-1").count("worker-1 serves") == 2
