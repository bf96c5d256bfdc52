"""Further evidence of the machine, in addition to an alert's causes."""

from __future__ import annotations

from services.healer.agent.evidence import system
from services.healer.agent.evidence.base import Asked, evidence_collector
from services.healer.agent.evidence.found import Found


@evidence_collector("deleted-open-files", "disk")
def deleted_open_files(asked: Asked) -> Found:
    """Deleted files that a process still holds open."""
    return system.deleted_open(asked.path or "/")


@evidence_collector("processes-by-io", "disk")
def processes_by_io(asked: Asked) -> Found:
    """Processes by bytes read and written."""
    return system.by_io(asked.wait)


@evidence_collector("oom-kills", "memory")
def oom_kills(_asked: Asked) -> Found:
    """The processes that the kernel killed for want of memory."""
    return system.oom_kills()


@evidence_collector("interfaces", "net")
def interfaces(asked: Asked) -> Found:
    """The traffic of each network interface."""
    return system.interfaces(asked.wait)


@evidence_collector("kernel-messages")
def kernel_messages(_asked: Asked) -> Found:
    """The kernel's last warnings and errors."""
    return system.kernel_messages()


@evidence_collector("lately-started")
def lately_started(_asked: Asked) -> Found:
    """Processes started within the last quarter of an hour."""
    return system.lately_started()


@evidence_collector("lately-installed")
def lately_installed(_asked: Asked) -> Found:
    """Packages installed within the last quarter of an hour."""
    return system.lately_installed()
