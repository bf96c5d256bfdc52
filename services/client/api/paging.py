"""Addresses of a list's current, previous and next page with the same filter; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode


def address(path: str, wanted: Mapping[str, str], offset: int = 0) -> str:
    """``path`` with the fields of the filter that say something, from the ``offset``-th row on."""
    asked = {name: text for name, text in wanted.items() if text}
    asked |= {"offset": str(offset)} if offset else {}
    return f"{path}?{urlencode(asked, errors='replace')}" if asked else path


def neighbours(
    path: str, wanted: Mapping[str, str], offset: int, rows: int, *, more: bool
) -> dict[str, Any]:
    """The fields ``before`` and ``behind`` of a page of ``rows`` rows; None where there is none."""
    return {
        "before": address(path, wanted, max(0, offset - rows)) if offset else None,
        "behind": address(path, wanted, offset + rows) if more else None,
    }
