"""From a series' encoded labels to the machine, the item and the labels it is known by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from services.detector.gateway.protobuf import pairs_of
from shared.contracts.message import HostName
from shared.contracts.metrics import ItemName, LabelName, LabelValue
from shared.name_hashes import name_hash
from shared.samples import MAX_LABELS, InvalidBatch, labels_text

_HOST: TypeAdapter[str] = TypeAdapter(HostName)
_ITEM: TypeAdapter[str] = TypeAdapter(ItemName)
_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[LabelName, LabelValue])
_HOST_LABELS = ("host", "instance")
_PORT = re.compile(r":\d{1,5}$")


@dataclass(frozen=True)
class Understood:
    """What a series is called here."""

    host: str
    item: str
    labels: str
    """Canonical text (``shared.samples.labels_text``)."""


class Names:
    """Different names, numbered in order of first sight."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}
        self._names: list[str] = []
        self._hashes: list[int] = []

    def code(self, name: str) -> int:
        """The number of ``name``; a new one gets the next."""
        found = self._codes.setdefault(name, len(self._names))
        if found == len(self._names):
            self._names.append(name)
            self._hashes.append(name_hash(name))
        return found

    def hashes(self, codes: NDArray[np.int32]) -> NDArray[np.uint64]:
        """``shared.name_hashes`` of the names numbered ``codes``."""
        return np.array([self._hashes[code] for code in codes], dtype=np.uint64)

    def __getitem__(self, code: int) -> str:
        return self._names[code]

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)


def understand(encoded: bytes, ignore: str) -> Understood | str | None:
    """What a series is; or what is wrong with it; or None for one that is ignored.

    A label with an empty value is the same as no label; the order of labels does not matter.
    """
    try:
        pairs = pairs_of(encoded)
    except UnicodeDecodeError as error:
        return f"a label is not UTF-8: {error.reason}"
    except InvalidBatch as error:
        return f"a label is damaged: {error}"
    labels = {name: value for name, value in pairs if value}
    names = [name for name, _ in pairs]
    item = labels.pop("__name__", "")
    if item and ignore and re.fullmatch(ignore, item):
        return None
    shown = f"series {item or '?'}{orjson.dumps(labels).decode()[:200]}"
    problems = []
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        problems += [f"label {name!r} twice" for name in twice]
    host = next((labels.pop(name) for name in _HOST_LABELS if name in labels), "")
    if host:
        problems += _host_problems(host)
    else:
        problems.append("no label host or instance says which machine it is about")
    problems += _item_problems(item) + _label_problems(labels)
    if problems:
        return f"{shown}: " + "; ".join(problems)
    return _named(host, item, labels)


def _named(host: str, item: str, labels: dict[str, str]) -> Understood:
    """The machine without the exporter's port; a port that tells exporters apart stays a label."""
    machine = _PORT.sub("", host)
    if machine != host and not item.startswith("node_") and item != "up":
        labels = labels | {"instance": host}
    if item.startswith("node_"):
        labels = {name: value for name, value in labels.items() if name != "job"}
    return Understood(machine, item, labels_text(labels))


@lru_cache(100_000)
def _host_problems(host: str) -> list[str]:
    return _problems("host", _HOST, host)


@lru_cache(100_000)
def _item_problems(item: str) -> list[str]:
    return _problems("name", _ITEM, item)


def _label_problems(labels: dict[str, str]) -> list[str]:
    problems = _problems("labels", _LABELS, labels)
    if len(labels) > MAX_LABELS:
        problems.append(f"{len(labels)} labels, more than {MAX_LABELS}")
    return problems


def _problems(
    what: str, kind: TypeAdapter[str] | TypeAdapter[dict[str, str]], value: object
) -> list[str]:
    try:
        kind.validate_python(value)
    except ValidationError as error:
        return [
            f"{what} {'.'.join(str(p) for p in e['loc'])}: {e['msg']}".replace(" :", ":")
            for e in error.errors(include_url=False, include_input=False)
        ]
    return []
