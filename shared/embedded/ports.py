"""The ports of servers and services, kept over restarts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from shared.embedded.files import write_private
from shared.embedded.process import free_ports, is_free

Chosen = Callable[[str, Sequence[str], int], dict[str, int]]
"""Gives a port for each name of a group; the port ``twin_offset`` above each is free, too."""

DEFAULTS: Mapping[str, int] = {
    "services.client": 8000,
    "services.gateway": 9201,
    "services.healer": 8081,
    "broker.amqp": 5672,
    "broker.management": 15672,
    "object-store.s3": 8333,
}
"""The ports of `barograph up` when it starts for the first time and they are free."""
_LAST_PORT = 65_535
_WORDS: Mapping[str, str] = {
    "services.client": "the web page and API",
    "services.gateway": "the metrics gateway",
    "services.healer": "the healer",
    "broker.amqp": "the broker",
    "broker.management": "the broker's management",
    "object-store.s3": "the object store",
}


def any_free(_group: str, names: Sequence[str], twin_offset: int) -> dict[str, int]:
    """Ports that are free now."""
    return dict(zip(names, free_ports(len(names), twin_offset=twin_offset), strict=True))


class KeptPorts:
    """Ports kept in a file: those used last, otherwise the defaults, otherwise free ones.

    A port that another program has taken meanwhile is replaced, and the new one is kept.
    """

    notes: dict[str, str]
    """For each port, by group and name, that is not the one a person expects: a sentence why."""

    def __init__(self, file: Path, defaults: Mapping[str, int]) -> None:
        self._file, self._defaults = file, defaults
        self._given: set[int] = set()
        self.notes = {}

    def __call__(self, group: str, names: Sequence[str], twin_offset: int) -> dict[str, int]:
        """Choose the ports, and store the choice."""
        kept = self._read()
        chosen = {name: self._one(f"{group}.{name}", kept, twin_offset) for name in names}
        kept |= {f"{group}.{name}": port for name, port in chosen.items()}
        write_private(self._file, json.dumps(kept, indent=2))
        return chosen

    def _one(self, name: str, kept: Mapping[str, int], twin_offset: int) -> int:
        for port in (kept.get(name), self._defaults.get(name)):
            if port is not None and self._is_free(port, twin_offset):
                break
        else:
            port = next(p for p in self._others(twin_offset) if p not in kept.values())
        self._note(name, port, kept.get(name), twin_offset)
        self._given |= {port, port + twin_offset}
        return port

    def _note(self, name: str, port: int, kept: int | None, twin_offset: int) -> None:
        """Say which port was taken instead of the last or the default one, and why."""
        default = self._defaults.get(name)
        expected = default if kept is None else kept
        used = f"port {port} for {_WORDS.get(name, name)}"
        if expected not in (None, port):
            taken = self._taken(expected, twin_offset)
            self.notes[name] = f"{used}, now and at later starts: {taken}"
        elif default not in (None, port):
            self.notes[name] = f"{used}, as at the last start: {default} was in use before"

    def _taken(self, port: int, twin_offset: int) -> str:
        """Say why a port cannot be had."""
        if {port, port + twin_offset} & self._given:
            return f"{port} is used by another part of this stack"
        if is_free(port):
            return f"{port + twin_offset}, which belongs to {port}, is in use by another program"
        return f"{port} is in use by another program"

    def _is_free(self, port: int, twin_offset: int) -> bool:
        both = {port, port + twin_offset}
        return not both & self._given and all(p <= _LAST_PORT and is_free(p) for p in both)

    def _others(self, twin_offset: int) -> list[int]:
        found = free_ports(len(self._given) + 32, twin_offset=twin_offset)
        return [port for port in found if not {port, port + twin_offset} & self._given]

    def _read(self) -> dict[str, int]:
        try:
            known = json.loads(self._file.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        if not isinstance(known, dict):
            return {}
        return {str(n): p for n, p in known.items() if type(p) is int and 0 < p <= _LAST_PORT}
