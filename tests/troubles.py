"""Machines in trouble, for the tests of remediations."""

from __future__ import annotations

import getpass
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.healer.remediations import Outcome, Remediation, Step, make, running
from shared.contracts import SeriesRef

OLD_S = 10 * 86_400
HOUR_S = 3600


@dataclass
class Noted:
    """A journal that remembers, and may do something at the worst moment: before a step."""

    before_step: Callable[[Step], None] = lambda _step: None
    events: list[tuple[str, Step]] = field(default_factory=list)

    def intend(self, step: Step) -> None:
        self.events.append(("intend", step))
        self.before_step(step)

    def done(self, step: Step) -> None:
        self.events.append(("done", step))

    def failed(self, step: Step, error: str) -> None:
        self.events.append(("failed", step))


@dataclass(frozen=True)
class Trouble:
    """A machine in the trouble that a remediation is for; ``ground`` is all it could touch."""

    ground: Path
    root: Path
    outside: Path
    remedy: Remediation
    series: SeriesRef

    stop: Callable[[], None] = lambda: None
    """Ends what the trouble has started."""
    read: Callable[[], dict[str, tuple[object, ...]]] | None = None
    """The state, where it is not in files."""

    def run(
        self,
        journal: Noted | None = None,
        *,
        dry_run: bool = False,
        only: Collection[str] | None = None,
    ) -> Outcome:
        journal = journal or Noted()
        return self.remedy.run(self.series, dry_run=dry_run, journal=journal, only=only)

    def state(self) -> dict[str, tuple[object, ...]]:
        if self.read is not None:
            return self.read()
        found: dict[str, tuple[object, ...]] = {}
        for path in sorted(self.ground.rglob("*")):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
            found[str(path)] = (status.st_mode, status.st_ino, status.st_mtime_ns, content)
        return found


def put(path: Path, age_s: float = OLD_S, content: bytes = b"log\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    modified = time.time() - age_s
    os.utime(path, (modified, modified))
    return path


def full_of_logs(ground: Path, **settings: Any) -> Trouble:
    root, outside = ground / "volume" / "logs", ground / "outside"
    for name in ("app.log.1", "app.log.2.gz", "web/access.log.3", "db/slow.log-20240101"):
        put(root / name)
    put(root / "app.log", 0)
    put(outside / "app.log.1", content=b"precious")
    allowed = {"root": str(root), "min_age_s": HOUR_S, **settings}
    return Trouble(
        ground,
        root,
        outside,
        make("clean-logs", {"roots": [allowed]}),
        SeriesRef(host="h", item="df.bytes.used.percent", labels={"mount": str(root.parent)}),
    )


def full_of_held_logs(ground: Path) -> Trouble:
    root, outside = ground / "volume" / "logs", ground / "outside"
    open_files = []
    for name in ("a/app.out", "b/app.out", "server.log"):
        put(root / name, 0, b"x" * 2000)
        open_files.append((root / name).open("ab"))
    put(outside / "app.out", content=b"precious")

    def close() -> None:
        for file in open_files:
            file.close()

    def read() -> dict[str, tuple[object, ...]]:
        return {str(p): (p.stat().st_size, p.stat().st_ino) for p in root.rglob("*.*")}

    allowed = {"root": str(root), "patterns": ["*.out", "*.log"]}
    return Trouble(
        ground,
        root,
        outside,
        make("truncate-logs", {"roots": [allowed], "min_bytes": 1000}),
        disk(root.parent),
        close,
        read,
    )


def full_of_caches(ground: Path) -> Trouble:
    root, outside = ground / "volume" / "archives", ground / "outside"
    for number, name in enumerate(("a.deb", "partial/b.deb", "c.deb")):
        put(root / name, content=b"x" * (9 - number))
    put(root / "lock", 0)
    put(outside / "a.deb", content=b"precious")
    caches = [{"kind": "apt", "root": str(root)}]
    remedy = make("clean-caches", {"caches": caches})
    return Trouble(ground, root, outside, remedy, disk(root.parent))


def disk(mount: Path) -> SeriesRef:
    return SeriesRef(host="h", item="df.bytes.used.percent", labels={"mount": str(mount)})


def program(ground: Path, name: str) -> str:
    """A program of its own name, so that an allow-list names it and nothing else."""
    path = ground / name
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(Path(sys.executable).resolve(), path)
    return str(path)


def started(ground: Path, *commands: list[str], **options: Any) -> list[subprocess.Popen[bytes]]:
    """Processes that have printed a line, so that they are what they will be.

    Their input stays open until they are ended, whatever the tests' own input is: a program that
    waits for a line waits also where the tests run without a terminal.
    """
    home = str(Path(sys.base_prefix))
    found = []
    for command in commands:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ground,
            env=dict(os.environ) | {"PYTHONHOME": home} | options,
        )
        assert process.stdout is not None
        assert process.stdout.readline()
        found.append(process)
    return found


def ended(processes: list[subprocess.Popen[bytes]]) -> Callable[[], None]:
    def stop() -> None:
        for process in processes:
            process.kill()
            process.communicate()

    return stop


BURN = "print('ready', flush=True)\nwhile True: pass"


def burning(ground: Path, remediation: str, **settings: Any) -> Trouble:
    burner = program(ground, "burner")
    processes = started(ground, [burner, "-c", BURN], [burner, "-c", BURN])

    def read() -> dict[str, tuple[object, ...]]:
        found = {}
        for process in processes:
            now = running.read(process.pid)
            found[str(process.pid)] = (now is not None, now.nice if now else 0)
        return found

    fields = {
        "programs": ["burner"],
        "users": [getpass.getuser(), "root"],
        "min_cpu": 0.1,
        "min_age_s": 0,
        "max_processes": 2,
        **settings,
    }
    series = SeriesRef(host="h", item="cpu.idle")
    remedy = make(remediation, fields)
    return Trouble(ground, ground, ground, remedy, series, ended(processes), read)


def left_behind(ground: Path) -> Trouble:
    python = program(ground, "trainer")
    code = "print('ready', flush=True)\nimport time\nwhile True: time.sleep(1)"
    config = json.dumps({"task": {"type": "worker", "index": 0}})
    processes = started(
        ground, [python, "-c", code, "--job_name=ps"], [python, "-c", code, "--job_name", "ps"]
    )
    processes += started(ground, [python, "-c", code], TF_CONFIG=config)

    def read() -> dict[str, tuple[object, ...]]:
        return {str(p.pid): (running.read(p.pid) is not None,) for p in processes}

    fields = {
        "programs": ["trainer"],
        "users": [getpass.getuser(), "root"],
        "min_age_s": 0,
        "adopters": [os.getpid()],
    }
    series = SeriesRef(host="h", item="mem.memused.percent")
    remedy = make("stop-leftover-tensorflow", fields)
    return Trouble(ground, ground, ground, remedy, series, ended(processes), read)


_SERVE = """
import os, signal, subprocess, sys
pid_file, program = sys.argv[1:3]
if os.path.exists(pid_file):
    os.kill(int(open(pid_file).read()), signal.SIGKILL)
code = "print('up', flush=True); import time; time.sleep(600)"
served = subprocess.Popen([program, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
served.stdout.readline()
open(pid_file + ".new", "w").write(str(served.pid))
os.replace(pid_file + ".new", pid_file)
"""


def stuck_services(ground: Path) -> Trouble:
    names = ("web", "queue")
    units = []
    (ground / "serve.py").write_text(_SERVE)
    for name in names:
        argv = [
            sys.executable,
            *map(str, (ground / "serve.py", ground / f"{name}.pid")),
            sys.executable,
        ]
        units.append({"name": name, "restart": argv, "pid_file": str(ground / f"{name}.pid")})
        subprocess.run(argv, check=True)

    def pid(name: str) -> int:
        return int((ground / f"{name}.pid").read_text())

    def stop() -> None:
        for name in names:
            os.kill(pid(name), signal.SIGKILL)

    def read() -> dict[str, tuple[object, ...]]:
        return {name: (pid(name), running.read(pid(name)) is not None) for name in names}

    series = SeriesRef(host="h", item="ss.closed")
    remedy = make("restart-service", {"services": units})
    return Trouble(ground, ground, ground, remedy, series, stop, read)


TROUBLES: dict[str, Callable[[Path], Trouble]] = {
    "clean-caches": full_of_caches,
    "clean-logs": full_of_logs,
    "kill-runaway": lambda ground: burning(ground, "kill-runaway", grace_s=2),
    "renice-runaway": lambda ground: burning(ground, "renice-runaway", nice=15),
    "restart-service": stuck_services,
    "stop-leftover-tensorflow": left_behind,
    "truncate-logs": full_of_held_logs,
}
"""For each remediation of a machine a trouble that it helps against."""
