"""The names in a batch of samples: machines, items, and labels in their canonical text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import orjson
from pydantic import TypeAdapter, ValidationError

from shared.contracts.message import HostName
from shared.contracts.metrics import ItemName, LabelName, LabelValue

MAX_LABELS = 32
_MAX_FAULTS = 20
_HOST: TypeAdapter[str] = TypeAdapter(HostName)
_ITEM: TypeAdapter[str] = TypeAdapter(ItemName)
_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[LabelName, LabelValue])
_PLAIN_ITEM = re.compile(r"[A-Za-z_:][A-Za-z0-9_:.\-]{0,199}")


def labels_text(labels: Mapping[str, str]) -> str:
    """Labels in canonical form: the same labels always give the same text."""
    return orjson.dumps(dict(labels), option=orjson.OPT_SORT_KEYS).decode() if labels else ""


def labels_from(text: str) -> dict[str, str]:
    """The labels that ``labels_text`` wrote."""
    labels: dict[str, str] = orjson.loads(text) if text else {}
    return labels


def name_faults(column: Literal["host", "item"], names: Iterable[str | None]) -> list[str]:
    """What is wrong with each name that is not one of its kind."""
    kind = _HOST if column == "host" else _ITEM
    faults: list[str] = []
    for name in names:
        if column == "item" and name and _PLAIN_ITEM.fullmatch(name):
            continue
        try:
            kind.validate_python(name)
        except ValidationError as error:
            faults.append(f"{column} {str(name)[:80]!r}: {error.errors()[0]['msg']}")
            if len(faults) == _MAX_FAULTS:
                return [*faults, f"and perhaps more {column} names"]
    return faults


def label_faults(texts: Iterable[str | None]) -> list[str]:
    """What is wrong with each text that is not labels in canonical form."""
    faults: list[str] = []
    for text in texts:
        if text == "":
            continue
        problem = _label_problem(text)
        if problem:
            faults.append(f"labels {str(text)[:80]!r}: {problem}")
            if len(faults) == _MAX_FAULTS:
                return [*faults, "and perhaps more labels"]
    return faults


def _label_problem(text: str | None) -> str | None:
    try:
        labels = _LABELS.validate_python(orjson.loads(text or ""))
    except ValidationError as error:
        return error.errors()[0]["msg"]
    except orjson.JSONDecodeError as error:
        return f"not a JSON object: {error}"
    if len(labels) > MAX_LABELS:
        return f"{len(labels)} labels, more than {MAX_LABELS}"
    return None if labels_text(labels) == text else "not in canonical form (compact, names sorted)"
