"""All samplers of this machine."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from services.healer.agent.samplers.base import Reading, Sampler, share
from services.healer.agent.samplers.devices import Devices
from services.healer.agent.samplers.filesystems import FileSystems, Volumes
from services.healer.agent.samplers.host import Alive, Clock
from services.healer.agent.samplers.memory import Memory
from services.healer.agent.samplers.network import Interfaces, Sockets
from services.healer.agent.samplers.processor import Cpu, Load
from services.healer.agent.settings import Volume


def makers(volumes: Sequence[Volume]) -> list[Callable[[], Sampler]]:
    """What makes each sampler; each one made counts from then on, for itself."""
    watched: list[Callable[[], Sampler]] = [lambda: Volumes(volumes)] if volumes else []
    return [Cpu, Load, Devices, FileSystems, *watched, Memory, Interfaces, Sockets, Alive, Clock]


__all__ = ["Reading", "Sampler", "makers", "share"]
