"""Evidence: the processes that use the CPU, the memory, the network."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path

import psutil

from services.healer.agent.evidence.found import Found, Wait, size_text, table
from services.healer.masking import masked

_SPAN_S = 1.0
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12})")
_CONTAINER = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
_MIN_CPU = 0.5
"""Percent of one core below which a process is no cause of anything."""
_GONE = (psutil.NoSuchProcess, psutil.ZombieProcess, psutil.AccessDenied)


def by_cpu(wait: Wait) -> Found:
    """Processes by CPU over a second, in percent of one core; also those waiting for a disk."""
    before = {process: _cpu_s(process) for process in psutil.process_iter()}
    started = time.monotonic()
    wait(_SPAN_S)
    span = max(time.monotonic() - started, 1e-3)
    used = []
    for process, seconds in before.items():
        now = _cpu_s(process)
        if seconds is not None and now is not None:
            used.append((100 * (now - seconds) / span, process))
    used.sort(key=lambda pair: pair[0], reverse=True)
    rows = []
    for percent, process in used:
        row = _row(process, cpu=f"{percent:.0f} %", state=_state(process))
        if row and (percent >= _MIN_CPU or row["state"] == psutil.STATUS_DISK_SLEEP):
            rows.append(row)
    return table("Processes by CPU", rows)


def by_memory() -> Found:
    """Processes by resident memory, with their share of the machine's."""
    total = psutil.virtual_memory().total
    used = []
    for process in psutil.process_iter():
        try:
            used.append((process.memory_info().rss, process))
        except _GONE:
            continue
    used.sort(key=lambda pair: pair[0], reverse=True)
    rows = []
    for rss, process in used:
        row = _row(process, memory=size_text(rss), share=f"{100 * rss / total:.1f} %")
        if row and rss:  # threads of the kernel have none
            rows.append(row)
    return table("Processes by memory", rows)


def by_connections() -> Found:
    """Processes by TCP and UDP connections, with the peer each has most of them to."""
    try:
        connections = psutil.net_connections(kind="inet")
    except psutil.AccessDenied:
        return Found("Connections by process", (), truncated=True)
    peers: dict[int | None, Counter[str]] = {}
    established: Counter[int | None] = Counter()
    for connection in connections:
        if connection.raddr:
            peer = f"{connection.raddr.ip}:{connection.raddr.port}"
            peers.setdefault(connection.pid, Counter())[peer] += 1
            established[connection.pid] += connection.status == psutil.CONN_ESTABLISHED
    rows = []
    for pid, found in sorted(peers.items(), key=lambda pair: -pair[1].total()):
        peer, most = found.most_common(1)[0]
        numbers = {
            "connections": str(found.total()),
            "established": str(established[pid]),
            "busiest": f"{peer} ({most})",
        }
        rows.append(_row_of(pid, numbers))
    return table("Connections by process", rows)


def row_of(pid: int) -> dict[str, str]:
    """The columns that say which process this is; it may have ended."""
    return _row_of(pid, {})


def _row_of(pid: int | None, numbers: dict[str, str]) -> dict[str, str]:
    if pid is not None:
        try:
            row = _row(psutil.Process(pid), **numbers)
        except psutil.NoSuchProcess:
            row = None
        if row:
            return row
    # Sockets in TIME-WAIT belong to nobody any more; others' need the rights of root.
    return {"pid": "-", "user": "-", **numbers, "command": "(no process known)"}


def _row(process: psutil.Process, **numbers: str) -> dict[str, str] | None:
    """A row of the table; None when the process has ended."""
    try:
        with process.oneshot():
            arguments = process.cmdline() or [f"[{process.name()}]"]
            user = process.username()
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        arguments, user = [f"[{process.name()}]"], "-"
    row = {"pid": str(process.pid), "user": user, **numbers, "age": _age(process)}
    container = container_of(process.pid)
    return row | ({"container": container} if container else {}) | {"command": masked(arguments)}


def container_of(pid: int) -> str:
    """The container, and in Kubernetes the pod, a process runs in; empty on the machine itself.

    Read from its control groups: ``kubepods…pod<uid>`` and the container's id.
    """
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return container_in(text)


def container_in(cgroups: str) -> str:
    """The container in the text of ``/proc/PID/cgroup``.

    >>> container_in("0::/kubepods/burstable/pod12345678-1234-1234-1234-123456789abc/" + "a" * 64)
    'pod 12345678-1234-1234-1234-123456789abc, container aaaaaaaaaaaa'
    """
    container, pod = _CONTAINER.search(cgroups), _POD.search(cgroups)
    parts = [f"pod {pod[1].replace('_', '-')}"] if pod else []
    parts += [f"container {container[1][:12]}"] if container else []
    return ", ".join(parts)


def _age(process: psutil.Process) -> str:
    try:
        seconds = time.time() - process.create_time()
    except _GONE:
        return "-"
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def _cpu_s(process: psutil.Process) -> float | None:
    try:
        times = process.cpu_times()
    except _GONE:
        return None
    return float(times.user + times.system)


def _state(process: psutil.Process) -> str:
    try:
        return str(process.status())
    except _GONE:
        return "-"
