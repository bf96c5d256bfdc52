"""The reference page of detectors, generated from their classes.

``python -m services.detector.documents`` writes it; a test fails when it is stale.
"""

from __future__ import annotations

from pathlib import Path

from services.detector.detectors import Detector, registered
from services.detector.settings import EngineSettings, Settings
from shared.columns import Columns
from shared.settings import ServiceSettings

PAGE = Path("docs/reference/detectors.md")
_INTRODUCTION = """Generated from the classes by `python -m services.detector.documents`.
Which one for what: [detection](../algorithms/detection.md)."""


def page() -> str:
    """The whole page."""
    parts = [
        "# Detectors",
        _INTRODUCTION,
        *[_detector(name, cls) for name, cls in registered().items()],
        "## Engine",
        "Fields of the JSON in `BAROGRAPH_DETECTOR_ENGINE`.",
        _table(EngineSettings.model_json_schema()),
        "## Service",
        "Each from `BAROGRAPH_DETECTOR_<SETTING>`, beside those all services have.",
        _table(Settings.model_json_schema(), skip={*ServiceSettings.model_fields, "engine"}),
    ]
    return "\n\n".join(parts) + "\n"


def _detector(name: str, cls: type[Detector]) -> str:
    summary = (cls.__doc__ or "").strip()
    state = Columns(cls().columns()).bytes_per_series
    schema = cls.model_json_schema()
    fields = _table(schema) if schema.get("properties") else "It has no settings."
    return f"## {name}\n\n{summary} State: {state} bytes a series.\n\n{fields}"


def _table(schema: dict[str, dict[str, dict[str, object]]], skip: set[str] | None = None) -> str:
    rows = ["| setting | default | meaning |", "|---|---|---|"]
    for name, field in schema["properties"].items():
        if name not in (skip or ()):
            default = _shown(field.get("default"))
            rows.append(f"| `{name}` | {default} | {field.get('description', '')} |")
    return "\n".join(rows)


def _shown(default: object) -> str:
    if default in (None, ""):
        return "none"
    if isinstance(default, dict):
        return "`{}`" if not default else "see the source"
    return "`" + str(default).replace("|", "\\|") + "`"


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
