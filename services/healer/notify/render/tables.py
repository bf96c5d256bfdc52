"""Tables in a mail: the evidence of the machine, shortened for people."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from services.healer.model.notice import Notice
from services.healer.notify.render.numbers import one_line
from shared.contracts.remediation import EvidenceRow, EvidenceTable

_COLUMN, _MAX_CELL_CHARS = 60, 300
_WIDE = ("command", "message", "path")
"""Columns that stand last, since they are long."""
_FIRST_ROWS, _MORE_ROWS = 10, 5
"""Rows shown of what the alarm is about, and of each further look; all are attached."""


def table(rows: Sequence[EvidenceRow]) -> tuple[list[str], list[list[str]]]:
    """Columns in order of first appearance, long ones last, and the cells, one line each."""
    names = list(dict.fromkeys(name for row in rows for name in row.columns))
    names.sort(key=lambda name: name in _WIDE)
    cells = [
        [one_line(row.columns.get(name, ""), _MAX_CELL_CHARS) for name in names] for row in rows
    ]
    return names, cells


@dataclass(frozen=True)
class Shown:
    """A table of evidence as shown in a mail."""

    title: str
    names: list[str]
    cells: list[list[str]]
    hidden: int

    @property
    def rest(self) -> str:
        """The number of rows that are not shown, in words."""
        return f"and {self.hidden} more, in the attached evidence" if self.hidden else ""


def evidence(notice: Notice) -> list[Shown]:
    """The first rows of every table of evidence."""
    return [
        _shown(found, _MORE_ROWS if number else _FIRST_ROWS)
        for number, found in enumerate(notice.tables())
    ]


def whole_evidence(notice: Notice) -> str:
    """Every row of every table of evidence, as plain text."""
    lines: list[str] = []
    for found in notice.tables():
        names, cells = table(found.rows)
        lines += [f"{_heading(found)}:", *aligned(names, cells, _MAX_CELL_CHARS), ""]
    return "\n".join(lines)


def _heading(found: EvidenceTable) -> str:
    return one_line(found.title) + (" (cut short)" if found.truncated else "")


def _shown(found: EvidenceTable, most: int) -> Shown:
    names, cells = table(found.rows)
    return Shown(_heading(found), names, cells[:most], max(0, len(cells) - most))


def aligned(names: Sequence[str], cells: Sequence[Sequence[str]], most: int = _COLUMN) -> list[str]:
    """Columns side by side, cells cut at ``most`` characters."""
    short = [[_cut(cell, most) for cell in row] for row in [names, *cells]]
    widths = [max(len(row[i]) for row in short) for i in range(len(names))]
    return [
        "  " + "  ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)).rstrip()
        for row in short
    ]


def _cut(cell: str, most: int) -> str:
    """The cell within ``most`` characters.

    A path loses its middle, since its end tells most; a command the directories of its program.
    """
    if not cell.startswith("/") or len(cell) <= most:
        return one_line(cell, most)
    program, space, arguments = cell.partition(" ")
    if space:
        return one_line(f"…/{program.rpartition('/')[2]} {arguments}", most)
    head = most // 3
    return f"{cell[:head]}…{cell[head + 1 - most :]}"
