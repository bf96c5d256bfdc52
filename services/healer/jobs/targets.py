"""The recipients that jobs may name for notifications."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from services.healer.notify.channels.base import Channel
from shared.contracts import Fault


def refused(targets: Iterable[str], channels: Sequence[Channel]) -> tuple[str, ...]:
    """The targets that no job may name, in order."""
    return tuple(t for t in targets if not any(channel.for_job(t) for channel in channels))


def faults(targets: Sequence[str], channels: Sequence[Channel]) -> tuple[Fault, ...]:
    """A fault for each target that no job may name, with the channels that it may."""
    vain = refused(targets, channels)
    allowed = ", ".join(channel.name for channel in channels if channel.jobs) or "none"
    return tuple(
        Fault(
            field=f"notify.to.{number}",
            problem=f"jobs may not name {target}; channels that they may name: {allowed}",
        )
        for number, target in enumerate(targets)
        if target in vain
    )
