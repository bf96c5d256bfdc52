"""Which files are generated, and from what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shared.contracts import message_types
from shared.documents.asyncapi import asyncapi_document, message_schema
from shared.documents.broker import broker_definitions
from shared.documents.dashboards import DASHBOARDS, dashboard
from shared.documents.picture import dataflow_svg
from shared.documents.reference import items_page, messages_page
from shared.items import ITEMS
from shared.messaging.envelope import event_type

REFERENCE = Path("docs/reference")
CHART_FILES = Path("charts/barograph/files")


def generated_files() -> dict[Path, str]:
    """Path below the repository's root to content, for every generated file."""
    files = {
        REFERENCE / "schemas" / f"{event_type(cls)}.json": _json(message_schema(cls))
        for cls in message_types().values()
    }
    files[REFERENCE / "asyncapi.json"] = _json(asyncapi_document())
    files[REFERENCE / "messages.md"] = messages_page()
    files[REFERENCE / "items.md"] = items_page()
    files[REFERENCE / "dataflow.svg"] = dataflow_svg()
    files[CHART_FILES / "broker-definitions.json"] = _json(broker_definitions())
    for name in DASHBOARDS:
        files[CHART_FILES / "dashboards" / f"{name}.json"] = _json(dashboard(name))
    files[CHART_FILES / "items.json"] = _json({name: i.family for name, i in ITEMS.items()})
    return files


def stale_files(root: Path) -> list[Path]:
    """Generated files that differ from what the code says, and schema files of no message."""
    files = generated_files()
    stale = [p for p, text in files.items() if _read(root / p) != text]
    schemas = root / REFERENCE / "schemas"
    known = {path.name for path in files if path.parent.name == "schemas"}
    stale += [REFERENCE / "schemas" / p.name for p in schemas.glob("*") if p.name not in known]
    return sorted(stale)


def write_files(root: Path) -> list[Path]:
    """Bring the generated files up to date; returns those that changed."""
    stale, files = stale_files(root), generated_files()
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
