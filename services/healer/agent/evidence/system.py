"""Evidence of other events on the machine.

Deleted files that are still open, kernel messages, OOM kills, I/O, interfaces, and what was started
or installed recently.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import psutil

from services.healer.agent.evidence.found import Found, Wait, size_text, table
from services.healer.agent.evidence.processes import row_of
from services.healer.masking import masked_text

_SPAN_S = 1.0
_RECENT_S = 900.0
_MESSAGES = 200
_MIN_BYTES = 1_000_000
"""A deleted file smaller than this fills no disk."""
_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied)
_OOM = re.compile(
    r"Out of memory|oom-kill|Killed process|memory cgroup out of memory", re.IGNORECASE
)
_TRACE = re.compile(
    r"^\s*(</?TASK>|R[A-Z0-9]{1,2}:|[DC]S:|[CF]S:|RIP:|RSP:|CR\d:|DR\d:|PKRU:|Code:|Call Trace"
    r"|CPU: \d|Hardware name:|Workqueue:|Tainted|\? ?\S+\+0x|\S+\+0x[0-9a-f]+/0x)"
)
"""Lines of a kernel's stack traces: the message before them says what happened."""
_LEVELS = ("emerg", "alert", "crit", "err", "warn", "notice", "info", "debug")
_WARNING = 4
_PACKAGES = (Path("/var/log/dpkg.log"), Path("/var/log/dnf.rpm.log"))
_TAIL = 65_536
_DELETED = " (deleted)"
"""The suffix that the kernel shows behind the name of a deleted file."""
Row = dict[str, str]


def deleted_open(path: str) -> Found:
    """Deleted files that a process still holds open, so that their space is not freed."""
    title = f"Deleted but still open on the file system of {path}"
    try:
        device = os.stat(path, follow_symlinks=False).st_dev  # noqa: PTH116 - bytes of any name
    except OSError as error:
        return Found(f"{title}: {error.strerror}", (), truncated=True)
    sizes: dict[tuple[int, str], tuple[int, int]] = {}
    unseen = False
    for pid in psutil.pids():
        try:
            for inode, size, name in _deleted(pid, device):
                sizes[inode, name] = (size, pid)
        except OSError as error:
            unseen = unseen or error.errno == errno.EACCES
    rows = []
    for (_, name), (size, pid) in sorted(sizes.items(), key=lambda found: -found[1][0]):
        rows.append({"size": size_text(size), "path": _shown(name)} | row_of(pid))
    return table(title, rows, cut=unseen)


def _deleted(pid: int, device: int) -> Iterator[tuple[int, int, str]]:
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            name = str(descriptor.readlink())
            if not name.endswith(_DELETED):
                continue  # without a look at it, which may hang where its server is away
            status = descriptor.stat()
        except OSError:
            continue
        size = status.st_blocks * 512
        if status.st_dev == device and not status.st_nlink and size >= _MIN_BYTES:
            yield status.st_ino, size, name.removesuffix(_DELETED)


def kernel_messages() -> Found:
    """The kernel's last warnings and errors, newest first."""
    title = "Kernel messages"
    try:
        found = list(_kernel_log())
    except OSError as error:
        return Found(f"{title}: {error.strerror}", (), truncated=True)
    rows = [
        {"at": at, "level": _LEVELS[level], "message": _shown(text)}
        for level, at, text in reversed(found)
        if level <= _WARNING and not _TRACE.match(text)
    ]
    return table(title, rows)


def oom_kills() -> Found:
    """The processes that the kernel killed for want of memory, newest first."""
    title = "Killed for lack of memory"
    try:
        found = list(_kernel_log())
    except OSError as error:
        return Found(f"{title}: {error.strerror}", (), truncated=True)
    rows = [{"at": at, "message": _shown(t)} for _, at, t in reversed(found) if _OOM.search(t)]
    return table(title, rows)


def by_io(wait: Wait) -> Found:
    """Processes by bytes read and written over a second."""
    before = {process: _io(process) for process in psutil.process_iter()}
    wait(_SPAN_S)
    used = []
    for process, then in before.items():
        now = _io(process)
        if then is not None and now is not None and now != then:
            used.append((now[0] - then[0], now[1] - then[1], process))
    used.sort(key=lambda row: -(row[0] + row[1]))
    rows = [
        {"read": f"{size_text(read)}/s", "written": f"{size_text(written)}/s"} | row_of(process.pid)
        for read, written, process in used
    ]
    return table("Processes by I/O", rows)


def interfaces(wait: Wait) -> Found:
    """The traffic of each interface, and its errors and drops since it came up."""
    before = psutil.net_io_counters(pernic=True)
    wait(_SPAN_S)
    now = psutil.net_io_counters(pernic=True)
    rates = {
        name: (c.bytes_recv - before[name].bytes_recv, c.bytes_sent - before[name].bytes_sent)
        for name, c in now.items()
        if name in before
    }
    rows = [
        {
            "interface": name,
            "in": f"{size_text(rates[name][0])}/s",
            "out": f"{size_text(rates[name][1])}/s",
            "errors": str(now[name].errin + now[name].errout),
            "drops": str(now[name].dropin + now[name].dropout),
        }
        for name in sorted(rates, key=lambda n: -sum(rates[n]))
    ]
    return table("Interfaces", rows)


def lately_started() -> Found:
    """Processes started within the last quarter of an hour: restarts and deploys show here."""
    now = time.time()
    young = []
    for process in psutil.process_iter():
        try:
            age = now - process.create_time()
        except _GONE:
            continue
        if age < _RECENT_S:
            young.append((age, process.pid))
    rows = [{"started": f"{age:.0f} s ago"} | row_of(pid) for age, pid in sorted(young)]
    return table("Started lately", rows)


def lately_installed() -> Found:
    """Packages installed, upgraded or removed within the last quarter of an hour."""
    rows: list[Row] = []
    for path in _PACKAGES:
        try:
            if time.time() - path.stat().st_mtime > _RECENT_S:
                continue
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - _TAIL))
                lines = file.read().decode(errors="replace").splitlines()[1:]
        except OSError:
            continue
        kept = [line for line in lines if re.search(r" (install|upgrade|remove) |SUBDEBUG", line)]
        rows += [{"change": _shown(line)} for line in reversed(kept)]
    return table("Installed lately", rows)


def _kernel_log() -> Iterator[tuple[int, str, str]]:
    """Level, time and text of what is in the kernel's ring buffer, its last part."""
    descriptor = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    records: list[bytes] = []
    try:
        while True:
            try:
                records.append(os.read(descriptor, 8192))
            except BlockingIOError:
                break
            except BrokenPipeError:
                continue  # overwritten while we read: go on with the next
            records = records[-_MESSAGES:]
    finally:
        os.close(descriptor)
    for record in records:
        head, _, text = record.decode(errors="replace").partition(";")
        fields = head.split(",")
        seconds = int(fields[2]) / 1e6
        at = datetime.fromtimestamp(psutil.boot_time() + seconds, UTC)
        yield int(fields[0]) & 7, f"{at:%m-%d %H:%M:%S}", text.splitlines()[0]


def _io(process: psutil.Process) -> tuple[int, int] | None:
    try:
        counters = process.io_counters()
    except _GONE:
        return None
    return counters.read_bytes, counters.write_bytes


def _shown(text: str) -> str:
    return masked_text("".join(c if c.isprintable() else "?" for c in text))[:300]
