"""The page of the chart's values: each with its default and what `values.yaml` says of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from shared.documents.markdown import document, table

_VALUES = Path("charts/barograph/values.yaml")
_LINE = re.compile(r"(?P<indent> *)(?P<key>[A-Za-z_][\w.-]*):(?: (?P<value>\S.*))?$")
_INTRODUCTION = """\
Every value of the chart, as declared in `values.yaml`; `values.schema.json` refuses any other.
`pods` below `client`, `task`, `autospec`, `detector`, `gateway`, `predictor`, `healer` and
`nodeAgent` takes the fields of the global `pods`, for that service alone."""


def values_page(root: Path) -> str:
    """Every value with a default of its own: path, default, meaning."""
    lines = (root / _VALUES).read_text(encoding="utf-8").splitlines()
    rows = [(f"`{path}`", f"`{default}`", text) for path, default, text in _values(lines)]
    return document("# Values of the chart", _INTRODUCTION, table(("value", "default", ""), rows))


def _values(lines: list[str]) -> Iterator[tuple[str, str, str]]:
    path: list[tuple[int, str]] = []
    said: list[str] = []
    for line in lines:
        if line.lstrip().startswith("#"):
            said.append(line.strip().removeprefix("#").strip().removeprefix("-- "))
            continue
        match = _LINE.match(line)
        if match is not None:
            indent = len(match["indent"])
            path = [*(each for each in path if each[0] < indent), (indent, match["key"])]
            if match["value"] is not None:
                yield ".".join(key for _, key in path), match["value"], " ".join(said)
        said = []
