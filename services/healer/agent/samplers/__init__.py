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
from services.healer.agent.samplers.programs import ProgramsCpu
from services.healer.agent.settings import Volume, Watched


def makers(
    volumes: Sequence[Volume] = (), programs: Sequence[Watched] = ()
) -> list[Callable[[], Sampler]]:
    """The maker of each sampler; each one made counts from then on, for itself."""
    watched: list[Callable[[], Sampler]] = [lambda: Volumes(volumes)] if volumes else []
    if programs:
        watched.append(lambda: ProgramsCpu(programs))
    return [Cpu, Load, Devices, FileSystems, *watched, Memory, Interfaces, Sockets, Alive, Clock]


__all__ = ["Reading", "Sampler", "makers", "share"]
