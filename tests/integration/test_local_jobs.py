"""Tiny programs, without TensorFlow, through the real task service and launchers."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator

import pytest

from services.task.runtimes.member_files import launcher_of
from shared.contracts import FailureClass, JobCancel, JobRemove, JobState
from tests.brokers import BrokerUnderTest
from tests.conftest import ObjectStoreUnderTest
from tests.jobs import JobPlatform

ENDLESS = "import time\nprint('up')\nwhile True: time.sleep(0.1)\n"


@pytest.fixture(scope="module")
def platform(
    broker: BrokerUnderTest,
    object_store: ObjectStoreUnderTest,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[JobPlatform]:
    running = JobPlatform(broker, object_store, tmp_path_factory.mktemp("jobs"))
    running.start()
    yield running
    running.stop()


def nothing_left(platform: JobPlatform, job_id: str, *members: str) -> bool:
    names = members or ("worker-0",)
    return not platform.launchers(job_id) and not any(
        platform.processes(job_id, name, n) for name in names for n in (1, 2, 3)
    )


def test_a_program_runs_and_everything_it_leaves_is_stored(platform: JobPlatform) -> None:
    program = (
        "import os, pathlib\n"
        "print('begin')\n"
        "pathlib.Path(os.environ['BAROGRAPH_MODEL_DIR'], 'm.bin').write_bytes(b'weights')\n"
        "pathlib.Path(os.environ['BAROGRAPH_OUTPUT_DIR'], 'o.txt').write_text('out')\n"
        "print('the last line', end='')\n"
    )
    job_id = platform.submit(platform.package(program))
    end = platform.wait_end(job_id)
    assert end.state is JobState.SUCCEEDED
    kinds = [event.TYPE for event in platform.told(job_id)]
    assert kinds == ["job.accepted", "job.starting", "job.running", "job.succeeded"]
    assert platform.stored_log(job_id) == "begin\nthe last line"
    platform.wait_log(job_id, "the last line")
    model = next(a for a in end.artifacts if a.key == f"jobs/{job_id}/model/m.bin")
    assert platform.store.get(model.bucket, model.key) == b"weights"
    assert any(a.key == f"jobs/{job_id}/output/o.txt" for a in end.artifacts)
    platform.until(lambda: nothing_left(platform, job_id), "end of its processes")
    folder = platform.settings.work_dir / job_id
    platform.until(lambda: not folder.exists(), "removal of its directory")


def test_a_failing_program_fails_the_job_with_its_last_lines(platform: JobPlatform) -> None:
    job_id = platform.submit(platform.package("print('x')\nraise ValueError('no such digit')\n"))
    end = platform.wait_end(job_id)
    assert (end.state, end.failure_class) == (JobState.FAILED, FailureClass.USER_ERROR)
    assert end.exit_code == 1
    assert end.last_lines[-1] == "ValueError: no such digit"


def test_a_missing_package_and_a_missing_main_program_are_told(platform: JobPlatform) -> None:
    no_package = platform.submit("barograph:packages:none.tar.gz")
    no_main = platform.submit(platform.package(ENDLESS), main="other.py")
    assert "no package barograph:packages/none.tar.gz" in platform.wait_end(no_package).reason
    assert "no main program other.py" in platform.wait_end(no_main).reason


def test_a_cancelled_program_is_stopped_and_its_model_is_kept(platform: JobPlatform) -> None:
    program = (
        "import os, pathlib, signal, sys, time\n"
        "def stop(*_):\n"
        "    pathlib.Path(os.environ['BAROGRAPH_MODEL_DIR'], 'm').write_text('saved')\n"
        "    print('saved on SIGTERM'); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "print('up')\n"
        "while True: time.sleep(0.1)\n"
    )
    job_id = platform.submit(platform.package(program))
    platform.wait_log(job_id, "up")
    platform.publish(JobCancel(job_id=job_id, reason="changed my mind"))
    end = platform.wait_end(job_id)
    assert (end.state, end.reason) == (JobState.CANCELLED, "changed my mind")
    assert platform.store.get("barograph", f"jobs/{job_id}/model/m") == b"saved"
    assert platform.stored_log(job_id).endswith("saved on SIGTERM\n")
    platform.until(lambda: nothing_left(platform, job_id), "end of its processes")


def test_a_killed_program_is_run_again_and_succeeds(platform: JobPlatform) -> None:
    program = (
        "import os, pathlib, signal\n"
        "mark = pathlib.Path(os.environ['BAROGRAPH_CHECKPOINT_DIR'], 'mark')\n"
        "if not mark.exists():\n"
        "    mark.write_text('1'); os.kill(os.getpid(), signal.SIGKILL)\n"
        "print('second time')\n"
    )
    job_id = platform.submit(platform.package(program))
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    assert "job.retrying" in [event.TYPE for event in platform.told(job_id)]


def test_a_program_over_its_memory_limit_fails_as_such(platform: JobPlatform) -> None:
    hungry = "data = []\nwhile True: data.append(bytearray(b'x') * 10_000_000)\n"
    package = platform.package(hungry)
    job_id = platform.submit(package, resources={"cpu": 1, "memory": "100Mi"})
    end = platform.wait_end(job_id)
    assert end.failure_class is FailureClass.OOM
    assert "100Mi" in end.reason


def test_no_descendant_survives_however_it_hides(platform: JobPlatform) -> None:
    name = f"barograph-leak-{os.getpid()}"
    hiding = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork() == 0:\n"
        "        os.closerange(0, 100); os.environ.clear()\n"
        f"        os.execve('/bin/sleep', ['{name}', '600'], {{}})\n"
        "    os._exit(0)\n"
        "time.sleep(0.3)\n"
        "print('done')\n"
    )
    job_id = platform.submit(platform.package(hiding))
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    platform.until(lambda: not _named(name), "end of the hidden process")


def test_a_killed_launcher_takes_its_program_along_and_the_job_goes_on(
    platform: JobPlatform,
) -> None:
    job_id = platform.submit(platform.package(ENDLESS))
    platform.wait_log(job_id, "up")
    launcher = launcher_of(platform.settings.work_dir / job_id / "worker-0" / "1")
    assert launcher is not None
    os.kill(launcher.pid, signal.SIGKILL)
    event = platform.wait_for(job_id, "job.retrying")
    assert event.failure_class is FailureClass.INFRASTRUCTURE
    platform.until(lambda: not platform.processes(job_id), "end of the first program")
    platform.until(lambda: bool(platform.processes(job_id, "worker-0", 2)), "the second run")
    platform.publish(JobCancel(job_id=job_id))
    assert platform.wait_end(job_id).state is JobState.CANCELLED


def test_a_restarted_task_service_adopts_what_runs(platform: JobPlatform) -> None:
    job_id = platform.submit(platform.package(ENDLESS))
    platform.wait_log(job_id, "up")
    before = platform.processes(job_id)
    platform.restart_task()
    platform.publish(JobCancel(job_id=job_id))
    assert platform.wait_end(job_id).state is JobState.CANCELLED
    assert before
    assert [event.TYPE for event in platform.told(job_id)].count("job.starting") == 1
    platform.until(lambda: nothing_left(platform, job_id), "end of its processes")


def test_the_program_can_reach_no_credential(platform: JobPlatform) -> None:
    spy = (
        "import os, pathlib\n"
        "def texts():\n"
        "    yield repr(dict(os.environ))\n"
        "    for process in pathlib.Path('/proc').glob('[0-9]*'):\n"
        "        for name in ('environ', 'cmdline'):\n"
        "            try: yield (process / name).read_bytes().decode('latin1')\n"
        "            except OSError: pass\n"
        "    top = pathlib.Path.cwd()\n"
        "    for root in top.parents[:5]:\n"
        "        for directory, _, files in os.walk(root):\n"
        "            for file in files:\n"
        "                if len(directory) < 400 and 'proc' not in directory[:5]:\n"
        "                    try: yield pathlib.Path(directory, file).read_text('latin1')\n"
        "                    except OSError: pass\n"
        "seen = ''.join(texts())\n"
        "print('user', os.getuid(), 'secrets', SECRETS_FOUND)\n"
    )
    secrets = [platform.s3.secret_key, platform.broker.url("member").split("@")[0][-12:]]
    # The first part of the launcher's token, which is the same in all of them.
    secrets += [platform.settings.member_broker_url_of("x", 60).split(":")[2].split(".")[0]]
    # The program gets the secrets' reversed text, or it would find its own source.
    hidden = [secret[::-1] for secret in secrets]
    spy = spy.replace("SECRETS_FOUND", f"[s[::-1] in seen for s in {hidden!r}]")
    job_id = platform.submit(platform.package(spy))
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    line = platform.stored_log(job_id).strip()
    assert line.endswith("secrets [False, False, False]"), line
    if os.geteuid() == 0:
        assert "user 0" not in line, platform.wait_for(job_id, "job.running").isolation


def test_a_tiny_cluster_is_gathered_and_ends_with_its_chief(platform: JobPlatform) -> None:
    program = (
        "import json, os, socket, sys, time\n"
        "config = json.loads(os.environ['TF_CONFIG'])\n"
        "me = config['task']\n"
        "port = int(config['cluster'][me['type']][me['index']].split(':')[1])\n"
        "print('listens', me, sys.argv[1:])\n"
        "server = socket.create_server(('127.0.0.1', port))\n"
        "if me['type'] != 'chief':\n"
        "    while True: server.accept()\n"
        "for hosts in config['cluster'].values():\n"
        "    for address in hosts:\n"
        "        host, port = address.split(':')\n"
        "        for _ in range(6000):\n"
        "            try: socket.create_connection((host, int(port))); break\n"
        "            except OSError: time.sleep(0.1)\n"
        "        else: sys.exit('unreachable')\n"
        "print('all reached')\n"
    )
    job_id = platform.submit(
        platform.package(program),
        type="distribute",
        chief=True,
        ps=1,
        workers=1,
        cluster_style="flags",
    )
    end = platform.wait_end(job_id)
    assert end.state is JobState.SUCCEEDED, end
    assert "all reached" in platform.stored_log(job_id, "chief-0")
    assert "--job_name=ps" in platform.stored_log(job_id, "ps-0")
    platform.until(
        lambda: nothing_left(platform, job_id, "chief-0", "ps-0", "worker-0"),
        "end of its processes",
    )


def test_a_replaced_member_brings_the_whole_cluster_to_the_next_epoch(
    platform: JobPlatform,
) -> None:
    program = (
        "import json, os, time\n"
        "config = json.loads(os.environ['TF_CONFIG'])\n"
        "print('epoch', os.environ['BAROGRAPH_EPOCH'], sorted(config['cluster']['worker']))\n"
        "while os.environ['BAROGRAPH_EPOCH'] == '1': time.sleep(0.1)\n"
    )
    job_id = platform.submit(platform.package(program), type="distribute", workers=2)
    platform.wait_for(job_id, "job.running")
    # While a process becomes another program its environment, and so its mark, is not seen.
    platform.until(lambda: bool(platform.processes(job_id, "worker-1")), "worker-1")
    (victim, *_) = platform.processes(job_id, "worker-1")
    os.kill(victim, signal.SIGKILL)
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    zero = platform.stored_log(job_id, "worker-0").splitlines()
    assert [line[:7] for line in zero if line.startswith("epoch")] == ["epoch 1", "epoch 2"]
    first, again = (line for line in zero if line.startswith("epoch"))
    assert first[7:] != again[7:], "the replacement has another port"


@pytest.mark.parametrize("taken", [False, True])
def test_a_lost_worker_of_an_elastic_job_comes_back_at_its_port_or_all_begin_again(
    platform: JobPlatform, taken: bool
) -> None:
    program = (
        "import json, os, pathlib, time\n"
        "config = json.loads(os.environ['TF_CONFIG'])\n"
        "epoch = os.environ['BAROGRAPH_EPOCH']\n"
        "print('epoch', epoch, sorted(config['cluster']['worker']))\n"
        "back = pathlib.Path(os.environ['BAROGRAPH_CHECKPOINT_DIR'], 'back')\n"
        "mine = pathlib.Path(os.environ['BAROGRAPH_CHECKPOINT_DIR'], 'first')\n"
        "if config['task'] == {'type': 'worker', 'index': 1}:\n"
        "    back.touch() if mine.exists() else mine.touch()\n"
        "    print('noted')\n"
        "while not back.exists(): time.sleep(0.1)\n"
    )
    members = {"type": "distribute", "chief": True, "ps": 1, "workers": 2}
    job_id = platform.submit(platform.package(program), **members, elastic=True)
    platform.wait_for(job_id, "job.running")
    platform.until(lambda: "noted" in platform.live(job_id, "worker-1"), "worker-1")
    launcher = launcher_of(platform.settings.work_dir / job_id / "worker-1" / "1")
    assert launcher is not None
    with socket.socket() as other:
        if taken:
            # Only one socket of a port may listen, and then it is nobody else's.
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind(("127.0.0.1", launcher.port))
            other.listen()
        os.kill(platform.processes(job_id, "worker-1")[0], signal.SIGKILL)
        assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    states = {e.state for e in platform.told(job_id) if e.TYPE == "job.retrying"}
    assert states == {JobState.RUNNING}
    chief = platform.stored_log(job_id, "chief-0").splitlines()
    worker = platform.stored_log(job_id, "worker-1").splitlines()
    first, again = (line for line in worker if line.startswith("epoch"))
    begun = [line for line in chief if line.startswith("epoch")]
    assert begun == ([first, again] if taken else [first])
    assert (first == again) is not taken


def test_a_broker_restarted_during_the_run_costs_no_line(platform: JobPlatform) -> None:
    program = (
        "import os, pathlib, time\n"
        "go = pathlib.Path(os.environ['BAROGRAPH_CHECKPOINT_DIR'], 'go')\n"
        "print('up')\n"
        "while not go.exists(): time.sleep(0.05)\n"
        "print('afterwards')\n"
    )
    job_id = platform.submit(platform.package(program))
    platform.wait_log(job_id, "up")
    (pid, *_) = platform.processes(job_id)
    platform.broker.restart()
    assert pid in platform.processes(job_id), [e.reason for e in platform.told(job_id)]
    (platform.settings.work_dir / job_id / "checkpoints" / "go").touch()
    assert platform.wait_end(job_id).state is JobState.SUCCEEDED
    assert platform.stored_log(job_id) == "up\nafterwards\n"
    platform.wait_log(job_id, "afterwards")
    # What a connection that broke had not acknowledged comes again, and later.
    platform.until(lambda: len(platform.told(job_id)) == 4, "every event, once", job_id)


def test_an_ended_job_is_removed_with_all_that_is_stored(platform: JobPlatform) -> None:
    job_id = platform.submit(platform.package("print('hello')\n"))
    platform.wait_end(job_id)
    platform.publish(JobRemove(job_id=job_id))
    platform.wait_for(job_id, "job.removed")
    assert not list(platform.store.list("barograph", f"jobs/{job_id}/"))


def _named(name: str) -> list[int]:
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                with open(f"/proc/{entry.name}/cmdline", "rb") as file:  # noqa: PTH123 - not a path of ours
                    if file.read().startswith(name.encode()):
                        found.append(int(entry.name))
            except OSError:
                continue
    return found
