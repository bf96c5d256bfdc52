"""Apriori: sets of items that are frequent in transactions, and the rules that follow.

A set can only be frequent if all its subsets are, so sets of k+1 items are built from frequent
sets of k only (Agrawal and Srikant, 1994). Each item is a row of bits, one a transaction; the
support of a set is the number of ones in the AND of its rows.

    support(X)        = transactions with X / transactions
    confidence(A->B)  = support(A and B) / support(A)
    lift(A->B)        = confidence(A->B) / support(B)
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

Item = TypeVar("Item", bound=Hashable)
Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class Found(Generic[Item]):
    """A rule: with every item of ``cause`` in a transaction, ``effect`` is often in it."""

    cause: tuple[Item, ...]
    effect: Item
    count: int
    """The number of transactions with all of these items."""
    support: float
    confidence: float
    lift: float


def frequent(
    transactions: Sequence[Collection[Item]], min_support: float, longest: int = 3
) -> dict[tuple[Item, ...], int]:
    """Sets of up to ``longest`` items in at least ``min_support`` of all, with their counts.

    Items of a set are in order of first appearance in ``transactions``.

    >>> frequent([{"a", "b"}, {"a", "b"}, {"a"}, {"c"}], 0.5)
    {('a',): 3, ('b',): 2, ('a', 'b'): 2}
    """
    rows = _rows(transactions)
    least = max(1, int(np.ceil(min_support * len(transactions) - 1e-9)))
    order = {item: number for number, item in enumerate(rows)}
    level: dict[tuple[Item, ...], Bits] = {
        (item,): bits for item, bits in rows.items() if _ones(bits) >= least
    }
    found = {items: _ones(bits) for items, bits in level.items()}
    for size in range(2, longest + 1):
        level = _next(level, rows, order, least, size)
        found |= {items: _ones(bits) for items, bits in level.items()}
    return found


def rules(
    transactions: Sequence[Collection[Item]],
    min_support: float = 0.2,
    min_confidence: float = 0.5,
    longest: int = 2,
) -> list[Found[Item]]:
    """Every rule with one effect above both limits, most confident first."""
    counts = frequent(transactions, min_support, longest)
    total = len(transactions)
    found = []
    for items, count in counts.items():
        for effect in items if len(items) > 1 else ():
            cause = tuple(item for item in items if item != effect)
            confidence = count / counts[cause]
            if confidence >= min_confidence:
                lift = confidence / (counts[effect,] / total)
                found.append(Found(cause, effect, count, count / total, confidence, lift))
    return sorted(found, key=lambda rule: (-rule.confidence, -rule.support))


def _rows(transactions: Sequence[Collection[Item]]) -> dict[Item, Bits]:
    members: dict[Item, list[int]] = {}
    for number, transaction in enumerate(transactions):
        # Sets have no order of their own that is the same in every process.
        for item in sorted(set(transaction), key=repr):
            members.setdefault(item, []).append(number)
    rows = {}
    for item, numbers in members.items():
        flags = np.zeros(len(transactions), dtype=np.bool_)
        flags[numbers] = True
        rows[item] = np.packbits(flags)
    return rows


def _next(
    level: dict[tuple[Item, ...], Bits],
    rows: dict[Item, Bits],
    order: dict[Item, int],
    least: int,
    size: int,
) -> dict[tuple[Item, ...], Bits]:
    """Frequent sets of ``size``, from those of one item less."""
    grown: dict[tuple[Item, ...], Bits] = {}
    singles = [item for item in rows if any(item in items for items in level)]
    for items, bits in level.items():
        for item in singles:
            if order[item] <= order[items[-1]]:
                continue
            candidate = (*items, item)
            if any(subset not in level for subset in combinations(candidate, size - 1)):
                continue
            both = bits & rows[item]
            if _ones(both) >= least:
                grown[candidate] = both
    return grown


def _ones(bits: Bits) -> int:
    return int(np.bitwise_count(bits).sum())
