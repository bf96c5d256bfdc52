"""A job's program on a running stack: what it finds, and what it cannot reach."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from shared.client import Client
from shared.embedded.stack import Stack
from shared.packages import pack
from tests.waiting import eventually

_ENDS = {"succeeded", "failed", "cancelled", "refused"}
_LOOKS = """
import getpass, json, multiprocessing, os, pwd, shutil, subprocess, sys


def environments(names):
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            text = open(f"/proc/{pid}/environ", "rb").read()
        except OSError:
            continue
        found |= {name for name in names if name.encode() + b"=" in text}
    return sorted(found)


def readable(path):
    try:
        os.listdir(path) if os.path.isdir(path) else open(path, "rb").close()
    except OSError:
        return False
    return True


if __name__ == "__main__":
    state, jobs = sys.argv[1:]
    python = "import sys, pydantic; print(sys.prefix)"
    run = [subprocess.run([name, "-c", python], capture_output=True, text=True).stdout.strip()
           for name in ("python3", "python")]
    multiprocessing.set_start_method("spawn")
    with multiprocessing.Manager() as manager:
        shared = manager.dict(works=True)
        works = dict(shared)
    for place in ("HOME", "TMPDIR", "BAROGRAPH_CHECKPOINT_DIR", "BAROGRAPH_OUTPUT_DIR"):
        open(os.path.join(os.environ[place], "written"), "w").close()
    status = dict(line.split(":", 1) for line in open("/proc/self/status"))
    print(json.dumps({
        "ids": [*os.getresuid(), *os.getresgid(), *os.getgroups()],
        "no_new_privs": status["NoNewPrivs"].strip(),
        "capabilities": int(status["CapEff"], 16),
        "prefixes": run,
        "tmp": len(os.environ["TMPDIR"]),
        "manager": works,
        "user": getpass.getuser(),
        "account": pwd.getpwuid(os.getuid()).pw_dir if os.getuid() >= 2**20 else os.environ["HOME"],
        "home": os.path.expanduser("~"),
        "data": os.listdir(os.environ["BAROGRAPH_DATA_DIR"]),
        "secrets": environments(["BAROGRAPH_BROKER_URL", "BAROGRAPH_S3_SECRET_KEY",
                                 "BAROGRAPH_TASK_MEMBER_SIGNING_KEY",
                                 "BAROGRAPH_CLIENT_API_TOKEN"]),
        "own_environment": sorted(
            name for name in os.environ if any(word in name for word in ("TOKEN", "KEY", "URL"))
        ),
        "readable": [path for path in ("/etc/shadow", state, f"{state}/stack.json",
                                       f"{state}/task.db", jobs) if readable(path)],
        "mounts": "shown" if "/etc/passwd" in open("/proc/self/mountinfo").read() else "not",
    }))
"""


def ran(stack: Stack, folder: Path, program: str, *arguments: str) -> tuple[dict[str, Any], str]:
    """Return how a job with this program ended, and its log."""
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "main.py").write_text(program)
    archive = folder.with_suffix(".tar.gz")
    packed = pack(folder, archive)
    client = Client(stack.file.client_url, stack.file.client_token)
    try:
        package = client.upload_archive(archive, packed.sha256)
        job = {
            "name": "looks",
            "package": package,
            "main": "main.py",
            "args": list(arguments),
            "resources": {"cpu": 0.5, "memory": "512Mi"},
        }
        job_id = client.jobs_api.call("POST", "/jobs", json=job)["job_id"]

        def ended() -> dict[str, Any]:
            asked: dict[str, Any] = client.jobs_api.call("GET", f"/jobs/{job_id}")
            return asked if asked["state"] in _ENDS else {}

        seen = eventually(ended, f"the end of {job_id}", 180, pause_s=0.2)
        return seen, "".join(client.jobs_api.text(f"/jobs/{job_id}/logs"))
    finally:
        client.close()


def test_a_program_finds_its_interpreter_and_reaches_nothing_of_the_stack(
    stack: Stack, tmp_path: Path
) -> None:
    jobs = stack.jobs.directory
    job, text = ran(stack, tmp_path / "looks", _LOOKS, str(stack.state), str(jobs))

    assert job["state"] == "succeeded", text
    told = json.loads(text.splitlines()[-1])
    assert len(set(told["prefixes"])) == 1, "python3 and python are the same"
    assert told["prefixes"][0], "and have our packages"
    assert told["tmp"] <= 75
    assert told["manager"] == {"works": True}
    assert told["account"] == told["home"]
    assert told["user"]
    assert told["data"] == []
    assert told["no_new_privs"] == "1"
    assert told["own_environment"] == []
    if os.geteuid() != 0:
        pytest.skip("only root's stack separates programs: what they reach is not checked")
    assert len(set(told["ids"])) == 1, "one user, its group, and no other groups"
    assert told["ids"][0] >= 40_000
    assert told["capabilities"] == 0
    assert told["secrets"] == []
    assert told["readable"] == []


def test_two_jobs_at_once_are_two_users_and_neither_reaches_the_other(
    stack: Stack, tmp_path: Path
) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root's stack separates programs: that is not checked")
    waits = (
        "import os, time; print(os.getuid(), os.getcwd(), flush=True)\nwhile True: time.sleep(1)"
    )
    client = Client(stack.file.client_url, stack.file.client_token)
    folder = tmp_path / "waits"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "main.py").write_text(waits)
    archive = tmp_path / "waits.tar.gz"
    packed = pack(folder, archive)
    package = client.upload_archive(archive, packed.sha256)
    resources = {"cpu": 0.1, "memory": "256Mi"}
    body = {"name": "victim", "package": package, "main": "main.py", "resources": resources}
    victim = client.jobs_api.call("POST", "/jobs", json=body)["job_id"]
    try:
        text = eventually(
            lambda: "".join(client.jobs_api.text(f"/jobs/{victim}/logs")), "its log", pause_s=0.2
        )
        uid, place = text.split()
        spies = (
            "import os, sys\n"
            "uid, place = int(sys.argv[1]), sys.argv[2]\n"
            "print('same user' if os.getuid() == uid else 'another user')\n"
            "parts = place.split('/')\n"
            "for n in range(len(parts), 4, -1):\n"
            "    try: print('seen', os.listdir('/'.join(parts[:n])))\n"
            "    except OSError: pass\n"
            "for pid in filter(str.isdigit, os.listdir('/proc')):\n"
            "    if os.stat(f'/proc/{pid}').st_uid == uid:\n"
            "        try: os.kill(int(pid), 9); print('killed')\n"
            "        except OSError: pass\n"
        )
        job, text = ran(stack, tmp_path / "spies", spies, uid, place)
        assert job["state"] == "succeeded", text
        assert text == "another user\n"
        assert client.jobs_api.call("GET", f"/jobs/{victim}")["state"] == "running"
    finally:
        client.jobs_api.call("POST", f"/jobs/{victim}/cancel", json={"reason": "over"})
        client.close()
