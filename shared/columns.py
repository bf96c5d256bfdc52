"""State as columns: one array per field, one row per series, capacity grown by doubling."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Rows = slice | NDArray[np.int64]
"""The rows of a step's series, all different; a slice if they are adjacent (no copying)."""

_MIN_CAPACITY = 64


@dataclass(frozen=True)
class Column:
    """One field of the state: ``shape`` is what one series holds, ``fill`` its initial value."""

    name: str
    dtype: type[np.generic]
    fill: float = 0
    shape: tuple[int, ...] = ()
    added: bool = False
    """True if snapshots from before this column was added are taken, with its initial values."""


class Columns(Mapping[str, Array]):
    """Arrays (capacity, *shape), by name; rows at and beyond ``size`` hold initial values."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = {column.name: column for column in columns}
        self._arrays = {c.name: np.full((0, *c.shape), c.fill, dtype=c.dtype) for c in columns}
        self.size = 0

    def __getitem__(self, name: str) -> Array:
        return self._arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def grow(self, size: int) -> None:
        """Make room for ``size`` series."""
        self.size = max(self.size, size)
        for name, array in self._arrays.items():
            if len(array) < size:
                column = self._columns[name]
                capacity = max(size, 2 * len(array), _MIN_CAPACITY)
                larger = np.full((capacity, *column.shape), column.fill, dtype=column.dtype)
                larger[: len(array)] = array
                self._arrays[name] = larger

    def keep(self, rows: NDArray[np.int64]) -> None:
        """Forget all rows but these, which get the numbers from 0 on."""
        for name, array in self._arrays.items():
            column = self._columns[name]
            capacity = max(len(rows), _MIN_CAPACITY)
            smaller = np.full((capacity, *column.shape), column.fill, dtype=column.dtype)
            smaller[: len(rows)] = array[rows]
            self._arrays[name] = smaller
        self.size = len(rows)

    def snapshot(self) -> dict[str, Array]:
        """The rows in use, as they lie in memory: to be stored before the next step."""
        found = {name: array[: self.size] for name, array in self._arrays.items()}
        for view in found.values():
            # They are copied on restore, because the memory belongs to another object.
            view.flags.writeable = False
        return found

    def restore(self, arrays: Mapping[str, Array], size: int) -> None:
        """Take the rows of a snapshot; ValueError names every column that does not fit.

        Arrays that may be written to become the columns, for a state may be gigabytes: whoever
        gives them does not use them any more.
        """
        given = {
            name
            for name, column in self._columns.items()
            if not (column.added and name not in arrays)
        }
        faults = [
            f"{name}: {_describe(arrays.get(name))} instead of {(size, *column.shape)}"
            for name, column in self._columns.items()
            if name in given
            and _describe(arrays.get(name)) != str(((size, *column.shape), np.dtype(column.dtype)))
        ]
        if faults:
            msg = "the snapshot's columns do not fit the settings: " + "; ".join(faults)
            raise ValueError(msg)
        whole = {name for name in given if not len(self._arrays[name]) and size >= _MIN_CAPACITY}
        for name in whole:
            array = arrays[name]
            self._arrays[name] = array if _can_be_taken(array) else array.copy()
        self.grow(size)
        for name in given - whole:
            self._arrays[name][:size] = arrays[name]

    @property
    def bytes_per_series(self) -> int:
        """Memory one series takes."""
        return sum(
            int(np.prod(c.shape, dtype=np.int64)) * np.dtype(c.dtype).itemsize
            for c in self._columns.values()
        )


def _can_be_taken(array: Array) -> bool:
    """Return whether it may be written to, and its memory is for nothing else."""
    memory: object = array if array.base is None else array.base
    return (
        isinstance(memory, np.ndarray)
        and memory.flags.owndata
        and memory.nbytes == array.nbytes
        and array.flags.c_contiguous
        and array.flags.writeable
    )


def _describe(array: Array | None) -> str:
    return "nothing" if array is None else str((array.shape, array.dtype))


def indices(rows: Rows) -> NDArray[np.int64]:
    """``rows`` as an array of row numbers."""
    return np.arange(rows.start, rows.stop) if isinstance(rows, slice) else rows


def as_rows(rows: NDArray[np.int64]) -> Rows:
    """A slice where the (distinct) rows are adjacent and ascending, else the rows."""
    if len(rows) and rows[-1] - rows[0] == len(rows) - 1 and (np.diff(rows) == 1).all():
        return slice(int(rows[0]), int(rows[-1]) + 1)
    return rows


def part_of(arrays: Mapping[str, Array], prefix: str) -> dict[str, Array]:
    """The arrays of one part of a snapshot, by their names without the part's ``prefix``."""
    return {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
