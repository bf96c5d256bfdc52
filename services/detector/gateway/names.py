"""From a series' encoded labels to the machine, the item and the labels it is known by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from services.detector.gateway.protobuf import pairs_of
from shared.machine import machine_for, machine_of
from shared.name_hashes import name_hash
from shared.samples import InvalidBatch, item_of, kept_labels

_TARGET = re.compile(r":[0-9]{1,5}(/|$)|://")
"""In an ``instance`` that is the address of something scraped."""


@dataclass(frozen=True)
class Understood:
    """What a series is called here."""

    host: str
    item: str
    labels: str
    """Canonical text (``shared.samples.labels_text``)."""
    cut: bool = False
    """Whether labels were too many or too long to be kept whole."""


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


def understand(encoded: bytes, ignore: str, machine_label: str = "") -> Understood | str | None:
    """What a series is; or what is wrong with it; or None for one that is ignored.

    A label with an empty value is the same as no label; the order of labels does not matter.

    Args:
        encoded: the labels, as remote write 1.0 has them.
        ignore: pattern of names that nobody wants.
        machine_label: the label that names the machine before all others, where it is there.
    """
    try:
        pairs = pairs_of(encoded)
    except UnicodeDecodeError as error:
        return f"a label is not UTF-8: {error.reason}"
    except InvalidBatch as error:
        return f"a label is damaged: {error}"
    labels = {name: value for name, value in pairs if value}
    names = [name for name, _ in pairs]
    name = labels.pop("__name__", "")
    if name and ignore and re.fullmatch(ignore, name):
        return None
    item = item_of(name)
    problems = [f"label {twice!r} twice" for twice in sorted(_repeated(names))]
    if "" in labels:
        problems.append("a label without a name")
    if item is None:
        problems.append("it has no name")
    if problems or item is None:
        shown = f"series {name[:200] or '?'}{orjson.dumps(labels).decode()[:200]}"
        return f"{shown}: " + "; ".join(problems)
    machine = _machine(
        labels, machine_label, exporters_own=item.startswith("node_") or item == "up"
    )
    if item.startswith("node_"):
        labels.pop("job", None)
    kept = kept_labels(labels)
    return Understood(machine, item, kept.text, kept.cut)


def _repeated(names: list[str]) -> set[str]:
    return (
        {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    )


def _machine(labels: dict[str, str], machine_label: str, *, exporters_own: bool) -> str:
    """The machine, and take the label away that names it.

    ``instance`` stays a label where it says more than the machine, as the port that tells two
    exporters apart; but not of the machine's own exporter.
    """
    for label in (machine_label, *_order(labels)):
        found = machine_of(labels.get(label, "")) if label else None
        if found is None:
            continue
        text = labels.pop(label)
        if label == "instance" and not exporters_own and text.strip().rstrip(".").lower() != found:
            labels["instance"] = text
        return found
    # No name of a machine, but still what tells one target from another.
    return machine_for(labels.get("instance", ""), labels.get("host", ""))


def _order(labels: dict[str, str]) -> tuple[str, str]:
    """``instance`` before ``host`` where Prometheus has scraped it: it names the target then.

    The exporter's own ``host`` may be anything: a virtual host, a user's address, ``*``. Without
    Prometheus it is the other way round: ``instance`` may be a disk or a core.
    """
    instance = labels.get("instance", "")
    scraped = "job" in labels or _TARGET.search(instance) is not None
    return ("instance", "host") if scraped else ("host", "instance")
