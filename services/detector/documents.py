"""The reference page of detectors, from their classes."""

from __future__ import annotations

from pathlib import Path

from services.detector.detectors import REGISTRY, Detector
from shared.columns import Columns
from shared.documents.markdown import document, settings_table

PAGE = Path("docs/reference/detectors.md")
_INTRODUCTION = """\
[Detection](../algorithms/detection.md) explains which detector to use. Their settings are fields
of `detectors` in the JSON of `BAROGRAPH_DETECTOR_ENGINE`, by the detector's name; other settings
of the engine are on [the page of settings](settings.md#enginesettings)."""


def pages() -> dict[Path, str]:
    """Path to content of every page."""
    return {PAGE: page()}


def page() -> str:
    """The whole page."""
    return document(
        "# Detectors",
        _INTRODUCTION,
        *[_detector(name, cls) for name, cls in REGISTRY.own().items()],
    )


def _detector(name: str, cls: type[Detector]) -> str:
    summary = (cls.__doc__ or "").strip()
    state = Columns(cls().columns()).bytes_per_series
    fields = settings_table(cls) if cls.model_fields else "It has no settings."
    return f"## {name}\n\n{summary} State: {state} bytes per series.\n\n{fields}"
