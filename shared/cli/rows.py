"""Prints an API's answers as a table, or as blocks where the terminal is too narrow."""

from __future__ import annotations

import json
import re
from typing import Any

import typer
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from shared.terminal import table_width
from shared.visible import visible

_TIME = re.compile(r"(\d{4}-\d\d-\d\d)T(\d\d:\d\d)(:\d\d(\.\d+)?)?(Z|\+00:00)")
_FOLDED = 20
"""The smallest width of a folded cell; narrower tables are shown as blocks."""


def show_rows(
    rows: list[dict[str, Any]], as_json: bool, columns: tuple[str, ...], *, nothing: str
) -> None:
    """Rows as a table, or as JSON; ``nothing`` is said to people where there is no row."""
    if as_json:
        typer.echo(json.dumps(rows))
        return
    if not rows:
        typer.echo(nothing)
        return
    console = Console(width=table_width())
    cells = {name: [_cell(row.get(name)) for row in rows] for name in columns}
    widths = {name: _width(name, cells[name]) for name in columns}
    spare = console.width - sum(widths.values()) - len(columns)
    if spare < 0:
        _print_blocks(console, cells)
        return
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in columns:
        wished = max(len(_heading(name)), *(cell.cell_len for cell in cells[name]))
        more = min(spare, max(0, wished - widths[name]))
        spare -= more
        numbers = all(_is_number(row.get(name)) for row in rows)
        justify: JustifyMethod = "right" if numbers else "left"
        width = widths[name] + more
        table.add_column(_heading(name), width=width, overflow="fold", justify=justify)
    for line in zip(*cells.values(), strict=True):
        table.add_row(*line)
    console.print(table)


def _print_blocks(console: Console, cells: dict[str, list[Text]]) -> None:
    """Print each row by itself, a line for each of its fields."""
    width = max(len(_heading(name)) for name in cells)
    for line in zip(*cells.values(), strict=True):
        for name, cell in zip(cells, line, strict=True):
            console.print(Text(f"{_heading(name):<{width}}  ") + cell)
        console.print()


def _width(name: str, cells: list[Text]) -> int:
    """Return a column's minimum width; headings break between words, and long cells are folded."""
    longest = max(cell.cell_len for cell in cells)
    return max(min(_FOLDED, longest), *map(len, _heading(name).split()))


def _heading(name: str) -> str:
    return name.replace("_", " ")


def _is_number(value: object) -> bool:
    return value is None or isinstance(value, int | float)


def _cell(value: object) -> Text:
    """As plain text: what machines and people sent is no markup."""
    if isinstance(value, float):
        return Text(f"{value:.3g}")
    if isinstance(value, list):
        return Text(visible(", ".join(map(str, value))))
    if isinstance(value, str) and (time := _TIME.fullmatch(value)):
        return Text(f"{time[1]} {time[2]} UTC")
    return Text("-" if value is None or value == "" else visible(str(value)))
