"""Records that were written or read before, so that the same JSON is not parsed again."""

from __future__ import annotations

from typing import Generic, TypeVar

from pydantic import BaseModel

T = TypeVar("T", bound=BaseModel)


class Parsed(Generic[T]):
    """The models of a collection by key, each with the JSON that the database has of it.

    A model is given out only for the very JSON that it was written as or read from. So whoever
    else writes the database, and whether or not a transaction was committed, no answer changes but
    its price. Threads may use it together.

    Args:
        model: their class.
        most: the number of models that are kept; 0: none. When there are more, it begins again.
    """

    def __init__(self, model: type[T], most: int) -> None:
        self._read = model.model_validate_json
        self._most = most
        self._kept: dict[str, tuple[str, T]] = {}

    def model(self, key: str, data: str) -> T:
        """The model of this JSON."""
        kept = self._kept.get(key)
        if kept is not None and kept[0] == data:
            return kept[1]
        record = self._read(data)
        self.keep(key, data, record)
        return record

    def keep(self, key: str, data: str, record: T) -> None:
        """Note that ``record`` is stored as ``data``."""
        if self._most:
            if len(self._kept) >= self._most:
                self._kept.clear()
            self._kept[key] = data, record

    def __len__(self) -> int:
        return len(self._kept)

    def forget(self, key: str) -> None:
        """Note that there is no such record any more."""
        self._kept.pop(key, None)
