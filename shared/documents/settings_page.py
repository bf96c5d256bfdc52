"""The page of all settings, from the classes that read them."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path

from shared.documents.markdown import document, nested_tables, settings_table
from shared.settings import ServiceSettings

_INTRODUCTION = """\
Every service reads its settings once, at start: from the environment, and otherwise from
`barograph.toml` ([configure it](../how-to/configure.md)). A setting `x` of the service `task` is
read from `BAROGRAPH_TASK_X`; settings that all services have are also read from `BAROGRAPH_X`,
unless the service's own is set. In the environment, lists, maps and settings with their own table
are written as JSON. An unknown name or an invalid value stops the service with status 2 and one
line per fault.

`barograph up` sets what a single machine needs and passes on its own environment; the chart has a
value for each setting (`charts/barograph/values.yaml`). Names that end in `_s` are in seconds,
those that end in `_bytes` in bytes."""


def settings_page(root: Path) -> str:
    """All settings: those that every service has, then each service's own."""
    parts = [
        "# Settings",
        _INTRODUCTION,
        "## All services",
        settings_table(ServiceSettings, prefix="BAROGRAPH_"),
    ]
    common = set(ServiceSettings.model_fields)
    for name, cls in service_settings(root):
        prefix = f"BAROGRAPH_{name.upper()}_"
        own = settings_table(cls, common, prefix)
        only_common = "Only those that all services have."
        parts += [f"## {name.title()}", own if set(cls.model_fields) - common else only_common]
        parts += nested_tables(cls, 3, common)
    return document(*parts)


def service_settings(root: Path) -> Iterator[tuple[str, type[ServiceSettings]]]:
    """Name and settings of each service, and of the healer's node agent.

    They are found where they lie, since ``shared`` knows no service.
    """
    places = [*root.glob("services/*/settings.py"), root / "services/healer/agent/settings.py"]
    for place in sorted(places):
        module = ".".join(place.relative_to(root).with_suffix("").parts)
        for cls in vars(importlib.import_module(module)).values():
            own = isinstance(cls, type) and cls.__module__ == module
            if own and issubclass(cls, ServiceSettings):
                yield place.parent.name, cls
