"""The generated files and their sources.

A service that has pages of its own gives them by ``pages()`` in its module ``documents``.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shared.cli.application import complete
from shared.contracts import message_types
from shared.documents.asyncapi import asyncapi_document, message_schema
from shared.documents.broker import broker_definitions
from shared.documents.commands import commands_page
from shared.documents.dashboards import DASHBOARDS, dashboard
from shared.documents.metrics_page import metrics_page
from shared.documents.picture import dataflow_svg
from shared.documents.reference import items_page, messages_page
from shared.documents.settings_page import settings_page
from shared.documents.values_page import values_page
from shared.items import ITEMS
from shared.messaging.envelope import event_type

REFERENCE = Path("docs/reference")
_ONLY_GENERATED = ("schemas", "remediations")
CHART_FILES = Path("charts/barograph/files")
_ROOT = Path(__file__).parents[2]


def generated_files() -> dict[Path, str]:
    """Path below the repository's root to content, for every generated file."""
    files = _of_the_platform()
    for place in sorted(_ROOT.glob("services/*/documents.py")):
        files |= importlib.import_module(f"services.{place.parent.name}.documents").pages()
    return files


def _of_the_platform() -> dict[Path, str]:
    files = {
        REFERENCE / "schemas" / f"{event_type(cls)}.json": _json(message_schema(cls))
        for cls in message_types().values()
    }
    files[REFERENCE / "asyncapi.json"] = _json(asyncapi_document())
    files[REFERENCE / "messages.md"] = messages_page()
    files[REFERENCE / "items.md"] = items_page()
    files[REFERENCE / "settings.md"] = settings_page(_ROOT)
    files[REFERENCE / "values.md"] = values_page(_ROOT)
    files[REFERENCE / "metrics.md"] = metrics_page()
    files[REFERENCE / "barograph.md"] = commands_page("barograph", complete())
    files[REFERENCE / "dataflow.svg"] = dataflow_svg()
    files[CHART_FILES / "broker-definitions.json"] = _json(broker_definitions())
    for name in DASHBOARDS:
        files[CHART_FILES / "dashboards" / f"{name}.json"] = _json(dashboard(name))
    files[CHART_FILES / "items.json"] = _json({name: i.family for name, i in ITEMS.items()})
    return files


def stale_files(root: Path) -> list[Path]:
    """Generated files that differ from what the code says, and what nothing generates any more."""
    return _stale(root, generated_files())


def _stale(root: Path, files: Mapping[Path, str]) -> list[Path]:
    stale = [p for p, text in files.items() if _read(root / p) != text]
    # These folders hold nothing else.
    for folder in {path.parent for path in files} & {REFERENCE / n for n in _ONLY_GENERATED}:
        left = [folder / path.name for path in (root / folder).glob("*")]
        stale += [path for path in left if path not in files]
    return sorted(stale)


def write_files(root: Path) -> list[Path]:
    """Bring the generated files up to date; returns those that changed."""
    files = generated_files()
    stale = _stale(root, files)
    for path in stale:
        if path in files:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(files[path], encoding="utf-8")
        else:
            (root / path).unlink()
    return stale


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"
