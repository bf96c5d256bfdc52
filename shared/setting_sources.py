"""The sources of settings: the environment, then ``barograph.toml``, then the defaults.

The file has what all services share at its top, and a table for each service:

    log_level = "WARNING"

    [task]
    max_workers = 16

``BAROGRAPH_CONFIG`` names it.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time
from pathlib import Path
from typing import Any

from shared.setting_names import OF_COMMANDS, SettingsError, meant

VARIABLE = "BAROGRAPH_CONFIG"
FILE = "barograph.toml"
SERVICES = ("client", "task", "autospec", "detector", "predictor", "healer", "agent")
"""The services for which the file may have a table."""
DEFAULT = "default"
_MAX_BYTES = 2**20


@dataclass(frozen=True)
class Given:
    """A setting's value as text, and its source."""

    text: str = field(repr=False)
    origin: str
    """The variable, or the file with the place in it."""


@dataclass(frozen=True)
class ConfigFile:
    """The contents of ``barograph.toml``."""

    path: Path
    content: Mapping[str, Any]

    def of_all(self) -> Iterator[tuple[str, Given]]:
        """The settings at the file's top, for all services."""
        for name, value in self.content.items():
            if not (name in SERVICES and isinstance(value, dict)):
                yield name, Given(_text(value), f"{self.path}: {name}")

    def of(self, service: str) -> Iterator[tuple[str, Given]]:
        """The settings of the service's own table."""
        own = self.content.get(service, {})
        for name, value in own.items() if isinstance(own, dict) else ():
            yield name, Given(_text(value), f"{self.path}: {service}.{name}")


def read_config(path: Path) -> ConfigFile:
    """The file at ``path``; raises as ``read_toml``."""
    return ConfigFile(path, read_toml(path))


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a settings file, whatever its editor's encoding marks.

    Raises:
        SettingsError: it is not there, not readable, or no TOML.
    """
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise SettingsError(f"{path}: not a file")
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: {getattr(error, 'strerror', '') or error}") from None
    if len(data) > _MAX_BYTES:
        raise SettingsError(f"{path}: larger than {_MAX_BYTES} bytes, which no settings are")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SettingsError(f"{path}: written as UTF-16; save it as UTF-8")
    try:
        content = tomllib.loads(data.decode("utf-8-sig"))
        json.dumps(content, default=str)  # so deep, or with such numbers, that it cannot be said
    except RecursionError:
        raise SettingsError(f"{path}: no TOML: nested too deeply") from None
    except ValueError as error:
        raise SettingsError(f"{path}: no TOML: {error}") from None
    return content


def named_config(env: Mapping[str, str]) -> ConfigFile | None:
    """The file that the environment names; None for none.

    Raises:
        SettingsError: as ``read_config``.
    """
    named = env.get(VARIABLE, "")
    return read_config(Path(named)) if named else None


def given(
    service: str,
    fields: Collection[str],
    common: Collection[str],
    env: Mapping[str, str],
    file: ConfigFile | None,
) -> tuple[dict[str, Given], list[str]]:
    """The given settings of a service, and a line for each unknown name.

    Args:
        service: its name.
        fields: the names of all of its settings.
        common: those that all services have; they are also read without the service's name.
        env: the environment, which counts before the file.
        file: the file.
    """
    found, unknown = ({}, []) if file is None else _of_file(file, service, fields, common)
    for name in common:
        variable = f"BAROGRAPH_{name.upper()}"
        if variable in env:
            found[name] = Given(env[variable], variable)
    own = f"BAROGRAPH_{service.upper()}_"
    for variable, text in env.items():
        name = variable.removeprefix(own).lower()
        if not variable.startswith(own) or variable in OF_COMMANDS:
            continue
        if name in fields:
            found[name] = Given(text, variable)
        else:
            unknown.append(f"{variable}: no such setting{meant(name, fields, own)}")
    return found, unknown


def anything_given(
    service: str, common: Collection[str], env: Mapping[str, str], file: ConfigFile | None
) -> bool:
    """Return whether ``given`` could find a value or an unknown name for a service."""
    own = f"BAROGRAPH_{service.upper()}_"
    of_all = {f"BAROGRAPH_{name.upper()}" for name in common}
    if any(variable.startswith(own) or variable in of_all for variable in env):
        return True
    return file is not None and any((*file.of_all(), *file.of(service)))


def _of_file(
    file: ConfigFile, service: str, fields: Collection[str], common: Collection[str]
) -> tuple[dict[str, Given], list[str]]:
    """The settings that a file gives a service, and a line for each unknown name."""
    found: dict[str, Given] = {}
    unknown: list[str] = []
    for name, each in file.of_all():
        if name in common:
            found[name] = each
        else:
            unknown.append(f"{each.origin}: {_of_no_service(name, common)}")
    for name, each in file.of(service):
        if name in fields:
            found[name] = each
        else:
            unknown.append(f"{each.origin}: no such setting{meant(name, fields)}")
    return found, unknown


def _of_no_service(name: str, common: Collection[str]) -> str:
    """The fault of a name at the file's top that no service has."""
    if name in SERVICES:
        return f"the settings of a service are a table: [{name}]"
    return f"no such setting of all services, and no service{meant(name, [*common, *SERVICES])}"


def asked(service: str, name: str, env: Mapping[str, str], file: ConfigFile | None) -> Given | None:
    """The given value of a service's setting, or None."""
    variable = f"BAROGRAPH_{service.upper()}_{name.upper()}"
    if variable in env and variable not in OF_COMMANDS:
        return Given(env[variable], variable)
    return dict(file.of(service)).get(name) if file else None


def _text(value: Any) -> str:
    """A value of the file as a variable would say it: lists and tables as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, date | time):  # a datetime is a date
        return value.isoformat()
    return json.dumps(value, default=str)
