"""Collections: the kinds of records, and the columns by which each is found."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

from pydantic import BaseModel

from shared.store.parsed import Parsed
from shared.store.tables import KEY_WIDTH, STATUS_WIDTH
from shared.time_zones import in_utc
from shared.visible import encodable

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Collection(Generic[T]):
    """A kind of record: its model, its key, and what it can be found by.

    ``group``, ``status`` and ``due`` read the indexed values from a record; ``due`` gives an
    aware datetime or None. ``kept`` is the number of models that are kept beside the database, for
    collections that are read over and over.
    """

    name: str
    model: type[T]
    key: Callable[[T], str]
    group: Callable[[T], str | None] | None = None
    status: Callable[[T], str | None] | None = None
    due: Callable[[T], datetime | None] | None = None
    kept: int = 0

    @cached_property
    def parsed(self) -> Parsed[T]:
        """The models that are kept."""
        return Parsed(self.model, self.kept)

    def row(self, record: T) -> dict[str, Any]:
        """The row of ``record``: the columns it is looked up by, and the record."""
        return {
            "collection": self.name,
            "key": fitted(self.key(record)),
            "group_key": fitted_or_none(self.group(record)) if self.group else None,
            "status": self.status_of(record),
            "due_at": utc(self.due(record)) if self.due else None,
            # As JSON when it is written: a batch may change one large record a thousand times.
            "data": record,
        }

    def status_of(self, record: T) -> str | None:
        """The status ``record`` is found by."""
        return fitted_or_none(self.status(record), STATUS_WIDTH) if self.status else None


def fitted(text: str, width: int = KEY_WIDTH) -> str:
    """``text`` as a column of ``width`` characters keeps it, the same for the same text.

    A text from outside may be longer, or contain what a database refuses (a zero byte, half a
    character). Then its beginning is stored with a digest of the whole, so that two texts with the
    same beginning remain different.
    """
    if len(text) <= width and "\0" not in text and (text.isascii() or encodable(text)):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    shown = text[: width - len(digest) - 1].encode("utf-8", "replace").decode()
    return f"{shown}~{digest}".replace("\0", "?")


def fitted_or_none(text: str | None, width: int = KEY_WIDTH) -> str | None:
    return None if text is None else fitted(text, width)


def utc(moment: datetime | None) -> datetime | None:
    """The same moment, as every database compares it."""
    return None if moment is None else in_utc(moment)
