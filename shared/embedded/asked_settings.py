"""Settings given for a named service of a stack, which take precedence over the stack's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from shared.embedded.service_settings import DECIDED
from shared.setting_sources import Given, asked, read_config

_PORTS = {
    "client": ("client", "http_port"),
    "gateway": ("detector", "gateway_port"),
    "healer": ("healer", "http_port"),
}
_TOKENS = {
    "client": ("client", "api_token"),
    "gateway": ("detector", "gateway_token"),
    "healer": ("healer", "http_token"),
}
"""The settings that name a service's port and token."""


class AskedSettings:
    """The settings of the environment and of a file, as they are now.

    Raises:
        SettingsError: when the file cannot be read.
    """

    def __init__(self, config: Path | None) -> None:
        self.config = config
        self._env = dict(os.environ)
        self._file = None if config is None else read_config(config)

    def ports(self) -> dict[str, int]:
        """The configured ports, which are also in the stack's file."""
        chosen = self._of(_PORTS)
        return {name: int(text) for name, text in chosen.items() if text.isdecimal() and int(text)}

    def tokens(self) -> dict[str, str]:
        """The configured access tokens."""
        return self._of(_TOKENS)

    def of_file(self, service: str) -> dict[str, str]:
        """The file's settings that this service reads, its own and those for all."""
        if self._file is None:
            return {}
        every = {f"* {name}": given.text for name, given in self._file.of_all()}
        return every | {name: given.text for name, given in self._file.of(service)}

    def variables(self, service: str, own: Mapping[str, str]) -> dict[str, str]:
        """The stack's settings for a service as its variables, without what was asked for.

        What is asked for by the service's name alone, and the stack gives to all of them, is
        added: it counts more.
        """
        left = {name: value for name, value in own.items() if not self._given(service, name)}
        named = ((name, self._given(service, name)) for name in DECIDED)
        left |= {name: given.text for name, given in named if given}
        return {f"BAROGRAPH_{service}_{name}".upper(): value for name, value in left.items()}

    def _of(self, places: Mapping[str, tuple[str, str]]) -> dict[str, str]:
        found = {name: self._given(*place) for name, place in places.items()}
        return {name: given.text for name, given in found.items() if given}

    def _given(self, service: str, setting: str) -> Given | None:
        return asked(service, setting.lower(), self._env, self._file)
