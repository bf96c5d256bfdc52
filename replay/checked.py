"""Checks what others have recorded, before a replay takes minutes and then cannot name a series."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from shared.contracts.message import HostName
from shared.contracts.metrics import MAX_LABELS, ItemName, LabelName, LabelValue
from shared.samples import SampleBatch, labels_from
from shared.time_zones import LAST_MS
from shared.validation import problem_of
from shared.visible import visible

_MAX_NAMED, _LONGEST = 3, 100
_HOST, _ITEM = TypeAdapter[str](HostName), TypeAdapter[str](ItemName)
_LABELS = TypeAdapter[dict[str, str]](
    Annotated[dict[LabelName, LabelValue], Field(max_length=MAX_LABELS)]
)


def faults_of(batch: SampleBatch) -> Iterator[str]:
    """The faults of samples: names that no series may have, times that no clock has."""
    yield from _names("host", batch.hosts, _HOST.validate_python)
    yield from _names("item", batch.items, _ITEM.validate_python)
    yield from _names("labels", batch.labels, _labels)
    odd = (batch.time_ms < 0) | (batch.time_ms > LAST_MS)
    if odd.any():
        yield f"{odd.sum()} samples are of a time before 1970 or after 9999"


def _labels(text: str) -> object:
    return _LABELS.validate_python(labels_from(text))


def _names(what: str, names: Sequence[str], check: Callable[[str], object]) -> Iterator[str]:
    faulty: list[str] = []
    for name in names:
        try:
            check(name)
        except ValidationError as error:
            problem = problem_of(error.errors(include_url=False)[0])
            faulty.append(f"{visible(name)[:_LONGEST]!r}: {problem}")
    if faulty:
        more = f" and {len(faulty) - _MAX_NAMED} more" if len(faulty) > _MAX_NAMED else ""
        yield f"{what} {'; '.join(faulty[:_MAX_NAMED])}{more}"
