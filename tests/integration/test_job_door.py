"""tshell on a real broker, store and local runtime: plan, a TFJob's way, describe, logs, top."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.client import Client, NotFoundError, RefusedError
from tests.brokers import BrokerUnderTest
from tests.conftest import ObjectStoreUnderTest
from tests.documented import program
from tests.doors import JobDoor, job_door

PYTHON_PAGE = "docs/how-to/use-from-python.md"
PROGRAM = """
import json, os, socket, time
config = json.loads(os.environ["TF_CONFIG"])
task = config["task"]
print("I am", task["type"], task["index"], "saying", os.environ["WORD"], flush=True)
host, port = config["cluster"]["ps"][0].split(":")
if task["type"] == "ps":
    server = socket.create_server((host, int(port)))
    time.sleep(600)
while True:  # as a worker does: the job is not over before its ps has begun
    try:
        socket.create_connection((host, int(port))).close()
        break
    except OSError:
        time.sleep(0.1)
"""
TFJOB = """
apiVersion: kubeflow.org/v1
kind: TFJob
metadata: {{name: spoken}}
spec:
  runPolicy: {{cleanPodPolicy: None}}
  successPolicy: AllWorkers
  tfReplicaSpecs:
    PS:
      template: &pod
        spec:
          containers:
            - name: tensorflow
              image: example.org/spoken:1
              command: [python3, -c, {program}]
              env: [{{name: WORD, value: hello}}]
              resources: {{limits: {{cpu: 500m, memory: 256Mi}}}}
    Worker:
      replicas: 2
      template: *pod
"""


@pytest.fixture(scope="module")
def door(
    broker: BrokerUnderTest,
    object_store: ObjectStoreUnderTest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[JobDoor]:
    with job_door(broker, object_store, tmp_path_factory.mktemp("door")) as made:
        yield made


@pytest.fixture
def tfjob(door: JobDoor) -> Path:
    file = door.platform.directory / "tfjob.yaml"
    file.write_text(TFJOB.format(program=json.dumps(PROGRAM)))
    return file


def told_whole(door: JobDoor, job: str) -> bool:
    described = json.loads(door.tshell("describe", job, "--json").stdout)
    stands = {m["role"] + str(m["index"]): m["stands"] for m in described["members"]}
    kinds = {line["kind"] for line in described["timeline"]}
    wanted = {"accepted", "starting", "reported", "gathered", "started", "running", "succeeded"}
    return wanted <= kinds and list(stands.values()) == ["stopped", "ended", "ended"]


def test_a_plan_tells_what_a_job_would_be_and_creates_nothing(door: JobDoor, tfjob: Path) -> None:
    planned = door.tshell("plan", "-f", str(tfjob), "--json")
    assert planned.returncode == 0, planned.stderr
    told = json.loads(planned.stdout)
    assert [(r["role"], r["members"]) for r in told["roles"]] == [("ps", 1), ("worker", 2)]
    assert (told["cpu"], told["memory_bytes"], told["fits_now"]) == (1.5, 3 * 2**28, True)
    assert told["notes"] == ["jobs run as processes of this machine: image will have no effect"]
    assert json.loads(door.tshell("ls", "--json").stdout)["jobs"] == []


def test_a_dry_run_names_every_reason_for_a_refusal(door: JobDoor, tfjob: Path) -> None:
    asked = ("-f", str(tfjob), "-g", "1", "--workers", "99", "--dry-run", "server")
    refused = door.tshell("submit", *asked)
    assert refused.returncode == 4
    assert "refused: workers: 100 members" in refused.stdout
    assert "refused: role_resources" in refused.stdout or "refused: resources.gpu" in refused.stdout


def test_a_tfjob_runs_and_its_way_is_told_to_the_end(door: JobDoor, tfjob: Path) -> None:
    handed = door.tshell("submit", "-f", str(tfjob), "--json")
    assert handed.returncode == 0, handed.stderr
    job = json.loads(handed.stdout)["job_id"]
    followed = door.tshell("logs", "-f", job)
    assert followed.returncode == 0, followed.stdout + followed.stderr

    printed = door.tshell("logs", job).stdout
    assert "worker-1  I am worker 1 saying hello\n" in printed
    assert "ps-0  I am ps 0 saying hello\n" in printed
    alone = door.tshell("logs", job, "--member", "worker-0").stdout
    assert alone == "I am worker 0 saying hello\n"
    assert door.tshell("logs", job, "--previous").returncode == 5

    # Members' news come over a queue of their own.
    door.platform.until(lambda: told_whole(door, job), "the whole timeline", job)
    shown = door.tshell("describe", job).stdout
    assert "ClusterSpec with 3 members, epoch 1" in shown
    assert door.tshell("top", job).returncode == 0


def test_what_a_member_uses_is_on_top_while_it_runs(door: JobDoor) -> None:
    folder = door.platform.directory / "busy"
    (folder / "code").mkdir(parents=True)
    busy = "held = bytearray(100_000_000)\nprint('up', flush=True)\nwhile True: pass\n"
    (folder / "code" / "main.py").write_text(busy)
    job = json.loads(door.tshell("submit", str(folder), "--json").stdout)["job_id"]

    def measured() -> bool:
        used = json.loads(door.tshell("top", "--json").stdout)
        return any(j["job_id"] == job and j["memory_used"] > 100_000_000 for j in used)

    def computes() -> bool:
        (member,) = json.loads(door.tshell("top", job, "--json").stdout)["members"]
        return bool(member["cpu_cores"] > 0)

    door.platform.until(measured, "a measurement", job)
    door.platform.until(computes, "a rate, which two measurements make", job)
    assert door.tshell("cancel", job).returncode == 0
    door.platform.until(lambda: door.tshell("status", job).returncode == 1, "its end", job)
    assert door.tshell("logs", job).stdout == "up\n"


LEAVING = """
import os, pathlib
model = pathlib.Path(os.environ["BAROGRAPH_MODEL_DIR"])
(model / "v 1").mkdir()
(model / "v 1" / "gewichte ü.bin").write_bytes(bytes(range(256)) * 1000)
pathlib.Path(os.environ["BAROGRAPH_OUTPUT_DIR"], "scores.csv").write_text("a,b\\n")
print("half a line, ", end="", flush=True)
print("\\r1/2\\r2/2 done\\u2028", flush=True)
"""


def test_what_a_job_left_is_fetched_whole_and_its_end_says_how(door: JobDoor) -> None:
    folder = door.platform.directory / "my größe"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "main.py").write_text(LEAVING)
    done = door.tshell("submit", str(folder), "--id", "leaving-1", "--wait")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "leaving-1: succeeded after" in done.stderr
    assert "2 files (256,004 bytes) are stored: tshell get leaving-1" in done.stderr
    log = door.tshell("logs", "leaving").stdout
    assert done.stdout == f"leaving-1\n{log}"

    target = door.platform.directory / "fetched"
    got = door.tshell("get", "leaving", "-o", str(target))
    assert got.returncode == 0, got.stderr
    assert (target / "model" / "v 1" / "gewichte ü.bin").read_bytes() == bytes(range(256)) * 1000
    assert (target / "output" / "scores.csv").read_text() == "a,b\n"

    again = door.tshell("submit", str(folder), "--id", "leaving-1", "--wait")
    assert (again.returncode, "was submitted before" in again.stderr) == (0, True)
    (folder / "code" / "main.py").write_text("print('other code')\n")
    other = door.tshell("submit", str(folder), "--id", "leaving-1", "--wait")
    assert (other.returncode, other.stdout) == (4, "")
    assert "belongs to another job" in other.stderr


def test_the_documented_programs_submit_wait_fetch_and_remove(
    door: JobDoor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place = door.platform.directory / "python"
    (place / "my-model" / "code").mkdir(parents=True)
    (place / "my-model" / "code" / "main.py").write_text(LEAVING)
    monkeypatch.chdir(place)
    monkeypatch.setenv("BAROGRAPH_URL", door.url)
    exec(program(PYTHON_PAGE, 0))
    said = capsys.readouterr().out
    assert "worker-0 half a line, " in said
    assert "succeeded" in said
    assert "fetched results/output/scores.csv" in said
    assert (place / "results" / "output" / "scores.csv").read_text() == "a,b\n"
    (place / "my-model" / "code" / "main.py").write_text("raise SystemExit(3)\n")
    with Client() as barograph:
        failed = barograph.wait(barograph.submit("my-model", main="main.py").job_id, 600)
        assert (failed.state, failed.succeeded, failed.exit_code) == ("failed", False, 3)
        with pytest.raises(RefusedError) as refused:
            barograph.submit("my-model", main="main.py", resources={"memory": "1Mi", "cpu": 640})
        assert {"resources.memory", "resources.cpu"} <= {f.field for f in refused.value.faults}
        with pytest.raises(NotFoundError, match="there is no job nobody"):
            barograph.job("nobody")
        exec(program(PYTHON_PAGE, 1))
        removed = failed.job_id
        assert removed in capsys.readouterr().out
        door.platform.until(lambda: not list(barograph.jobs(["failed"])), "removal", removed)


def test_what_cannot_run_is_refused_and_what_fails_says_why(door: JobDoor) -> None:
    folder = door.platform.directory / "typo"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "main.py").write_text("print('begun')\npritn('x')\n")
    refused = door.tshell("submit", str(folder), "-m", "1Mi", "-c", "640")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.count("refused: ") == 2
    failed = door.tshell("submit", str(folder), "--id", "typo-1", "--wait")
    assert failed.returncode == 1
    assert "exit code 1: NameError: name 'pritn' is not defined" in failed.stderr
    (folder / "code" / "main.py").write_text("def f(:\n")
    assert "refused: main: main.py, line 1" in door.tshell("submit", str(folder)).stderr
