"""Statements for many rows, whose text and conversions are made once.

SQLAlchemy builds the parameters of each row anew, which costs as much as the database's own work.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, Dialect
from sqlalchemy.sql.dml import UpdateBase

Row = Mapping[str, Any]
_DIALECTS = 8
"""A process has one dialect for each of its stores."""


class Prepared:
    """A statement with a parameter for each of ``names``, executed once for each of many rows.

    ``make`` builds it for a database's dialect, by name.
    """

    def __init__(self, names: Sequence[str], make: Callable[[str], UpdateBase]) -> None:
        self._names = names
        self._make = make
        self._of = lru_cache(_DIALECTS)(self._compiled)

    def execute(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Execute it for every row; nothing happens without any."""
        if rows:
            text, parameters = self._of(connection.dialect)
            connection.exec_driver_sql(text, [parameters(row) for row in rows])

    def _compiled(self, dialect: Dialect) -> tuple[str, Callable[[Row], Any]]:
        """The statement's text, and the function that makes its parameters from a row."""
        compiled = self._make(dialect.name).compile(dialect=dialect, column_keys=self._names)
        kinds = {name: bind.type.dialect_impl(dialect) for name, bind in compiled.binds.items()}
        converted = {name: kind.bind_processor(dialect) for name, kind in kinds.items()}
        names = [(name, converted[name]) for name in compiled.positiontup or converted]
        if compiled.positional:
            return str(compiled), lambda row: tuple(
                [convert(row[name]) if convert else row[name] for name, convert in names]
            )
        return str(compiled), lambda row: {
            name: convert(row[name]) if convert else row[name] for name, convert in names
        }
