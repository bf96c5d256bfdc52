"""``barograph config``: check and show the settings of environment and ``barograph.toml``."""

from __future__ import annotations

import importlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from shared.cli.options import AsJson, State
from shared.embedded.stackfile import DEFAULT_STATE
from shared.setting_names import OF_COMMANDS, SettingsError, meant
from shared.setting_sources import (
    DEFAULT,
    FILE,
    SERVICES,
    VARIABLE,
    ConfigFile,
    anything_given,
    read_config,
)
from shared.settings import ServiceSettings
from shared.terminal import table_width
from shared.visible import visible

app = typer.Typer(
    no_args_is_help=True,
    help="Check and show the settings from the environment and barograph.toml.",
)

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar=VARIABLE,
        help="The file with the settings; by default barograph.toml in the stack's directory, if"
        " it is there.",
    ),
]
Service = Annotated[list[str] | None, typer.Argument(help="Only these services; by default all.")]
_OTHER_VARIABLES = frozenset(
    {
        *OF_COMMANDS,
        *("BAROGRAPH_URL", "BAROGRAPH_TOKEN", "BAROGRAPH_STATE", "BAROGRAPH_GATEWAY_TOKEN"),
        *("BAROGRAPH_BASE", "BAROGRAPH_ROLES", VARIABLE),
    }
)
"""Variables that are no settings of services."""


@dataclass(frozen=True)
class Shown:
    """A setting in force, and its source."""

    service: str
    setting: str
    value: str
    origin: str


def chosen_config(path: Path | None, state: Path) -> Path | None:
    """The file in use: the one that was named, else the stack's own if it is there."""
    if path is not None:
        return path.expanduser().resolve()
    own = state.expanduser().resolve() / FILE
    return own if own.is_file() else None


def checked(config: Path | None, state: Path) -> dict[str, str]:
    """The variable that names the file to a stack, for one whose settings are good.

    Ends the command with every fault, and tells what the stack decides by itself.
    """
    from shared.embedded.service_settings import decided_here

    file = _file(config, state)
    if faults := faults_of(file, os.environ):
        raise typer.Exit(_told("\n".join(faults)))
    for stranger in strangers_of(os.environ):
        _told(f"note: {stranger}")
    for given in decided_here(os.environ, file):
        _told(f"note: {given} does not count here: the stack decides it for itself")
    return {} if file is None else {VARIABLE: str(file.path)}


@app.command()
def check(config: ConfigOption = None, state: State = DEFAULT_STATE) -> None:
    """Report every fault in the settings of all services; exit status 1 if there is any."""
    faults = faults_of(_file(config, state), os.environ) + strangers_of(os.environ)
    if faults:
        raise typer.Exit(_told("\n".join(faults)))
    typer.echo("the settings of all services are good")


@app.command()
def show(
    service: Service = None,
    config: ConfigOption = None,
    every: Annotated[bool, typer.Option("--all", help="Show defaults as well.")] = False,
    state: State = DEFAULT_STATE,
    as_json: AsJson = False,
) -> None:
    """Show each setting and its source, with secrets masked."""
    wanted = _services(service)
    file = _file(config, state)
    rows = [row for name in wanted for row in _shown(name, file) if every or row.origin != DEFAULT]
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows]))
        return
    table = Table("service", "setting", "value", "from", box=None)
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in asdict(row).values()))
    Console(width=table_width()).print(table if rows else "every setting has its default")


@app.command()
def values(config: ConfigOption = None, state: State = DEFAULT_STATE) -> None:
    """Convert the file to values for the chart, as `settings` of each service.

    What stands at the top of the file is given to each service. The chart refuses what it decides
    by itself. Secrets are left out and named: the chart reads them from Secrets.
    """
    file = _file(config, state)
    if file is None:
        raise typer.Exit(_told("there is no file; name one with --config"))
    tables: dict[str, dict[str, dict[str, str]]] = {}
    left_out: dict[str, None] = {}
    for name in SERVICES:
        given = dict((*file.of_all(), *file.of(name)))
        secrets = [key for key in given if _is_secret(name, key)]
        left_out |= dict.fromkeys(given.pop(key).origin for key in secrets)
        settings = {key: each.text for key, each in given.items()}
        tables["nodeAgent" if name == "agent" else name] = {"settings": settings}
    for origin in left_out:
        _told(f"note: {origin} is a secret and left out; give it to the chart in a Secret")
    typer.echo(json.dumps({k: each for k, each in tables.items() if each["settings"]}, indent=2))


def _is_secret(service: str, setting: str) -> bool:
    field = settings_class(service).model_fields.get(setting)
    return field is not None and "SecretStr" in str(field.annotation)


def faults_of(file: ConfigFile | None, env: Mapping[str, str]) -> list[str]:
    """Every unknown name and every bad value of a service's settings, each once."""
    found: list[str] = []
    for name in SERVICES:
        if not anything_given(name, ServiceSettings.model_fields, env, file):
            continue  # loading its settings takes longer than anything else here
        try:
            settings_class(name).of(name, env, file)
        except ImportError as error:
            _told(f"{name}: not checked, for its packages are not installed: {error}")
        except SettingsError as error:
            found += str(error).splitlines()
    return list(dict.fromkeys(found))


def strangers_of(env: Mapping[str, str]) -> list[str]:
    """Variables that look like settings but belong to no service."""
    known = _OTHER_VARIABLES | {
        f"BAROGRAPH_{name.upper()}" for name in ServiceSettings.model_fields
    }
    own = tuple(f"BAROGRAPH_{name.upper()}_" for name in SERVICES)
    return [
        f"{variable}: no such setting{meant(variable, known)}"
        for variable in sorted(env)
        if variable.startswith("BAROGRAPH_") and not variable.startswith(own)
        if variable not in known
    ]


def settings_class(service: str) -> type[ServiceSettings]:
    """The class of a service's settings; it is found where it lies: ``shared`` knows no service.

    Raises:
        ImportError: a package that the service needs is not installed.
    """
    from shared.embedded.stack import MODULES

    module = f"{MODULES[service]}.settings"
    kinds = [v for v in vars(importlib.import_module(module)).values() if isinstance(v, type)]
    for kind in kinds:
        if issubclass(kind, ServiceSettings) and kind.__module__ == module:
            return kind
    raise AssertionError(f"{module} has no settings")


def _shown(service: str, file: ConfigFile | None) -> Iterator[Shown]:
    try:
        cls = settings_class(service)
        in_force = cls.of(service, os.environ, file).shown()
    except ImportError as error:
        _told(f"{service}: not shown, for its packages are not installed: {error}")
        return
    except SettingsError as error:
        raise typer.Exit(_told(str(error))) from None
    found, _ = cls.given(service, os.environ, file)
    for name, value in in_force.items():
        yield Shown(service, name, value, found[name].origin if name in found else DEFAULT)


def _services(named: list[str] | None) -> list[str]:
    if unknown := sorted({*(named or ())} - {*SERVICES}):
        raise typer.Exit(_told(f"no such service: {', '.join(unknown)}; {', '.join(SERVICES)}"))
    return named or list(SERVICES)


def _file(config: Path | None, state: Path) -> ConfigFile | None:
    path = chosen_config(config, state)
    try:
        return None if path is None else read_config(path)
    except SettingsError as error:
        raise typer.Exit(_told(str(error))) from None


def _told(text: str) -> int:
    for line in text.splitlines():
        typer.echo(visible(line), err=True)
    return 1
