"""The address of a series' page, also from the canonical text that the read model keeps."""

from __future__ import annotations

import json
import re
from typing import Protocol
from urllib.parse import urlencode

from shared.contracts import SeriesRef

_NAME = r'("(?:[^"\\]|\\.)*"|[^,="]*)'
_LABEL = re.compile(rf"{_NAME}={_NAME}(?:,|$)")


class Named(Protocol):
    """Anything that knows a series by its canonical text, beside its machine and item."""

    @property
    def host(self) -> str: ...
    @property
    def item(self) -> str: ...
    @property
    def series(self) -> str: ...


def query_of(series: SeriesRef) -> str:
    """A series as the query of an address."""
    return _query(series.host, series.item, series.labels)


def way_of(named: Named) -> str:
    """The address of its page."""
    text = named.series.removeprefix(f"{named.host} {named.item}").removeprefix(" ")
    return f"/metrics/series?{_query(named.host, named.item, labels_in(text))}"


def labels_in(text: str) -> dict[str, str]:
    """The labels that ``SeriesRef.text`` wrote."""
    return {_plain(found[1]): _plain(found[2]) for found in _LABEL.finditer(text)}


def _plain(text: str) -> str:
    return str(json.loads(text)) if text.startswith('"') else text


def _query(host: str, item: str, labels: dict[str, str]) -> str:
    pairs = [("label", f"{name}={value}") for name, value in sorted(labels.items())]
    return urlencode([("host", host), ("item", item), *pairs], errors="replace")
