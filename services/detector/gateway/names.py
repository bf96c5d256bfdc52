"""Maps a series' encoded labels to its machine, item and labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import orjson
from numpy.typing import NDArray

from services.detector.gateway.protobuf import pairs_of
from shared.honored_labels import honored
from shared.machine import OTHER_LABELS, is_loopback, is_scraped, known_machine, machine_for
from shared.name_hashes import name_hash
from shared.samples import InvalidBatch, item_of, kept_labels

_OF_PROMETHEUS = frozenset(
    (
        *("up", "scrape_duration_seconds", "scrape_samples_scraped"),
        *("scrape_samples_post_metric_relabeling", "scrape_series_added"),
    )
)
"""The series that Prometheus adds to every target: they have the target's labels and no others."""
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_MAX_TARGETS = 100_000


@dataclass(frozen=True)
class Understood:
    """A series with its names in the platform."""

    host: str
    item: str
    labels: str
    """Canonical text (``shared.samples.labels_text``)."""
    cut: bool = False
    """True if labels were too many or too long to be kept whole."""


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


class Targets:
    """Scrape targets whose machine a label names that they were given, and that label.

    Such a label, as of ``static_configs``, relabelling or ``external_labels``, is on all their
    series. An exporter's own ``host`` is never on those that Prometheus adds to every target, and
    nothing that a program exposes shows more than that it wants to be another machine. It may
    even expose an ``up`` of its own; Prometheus' one without the label disproves it, for good.
    A label other than ``host`` counts only for a target whose ``instance`` names no machine, as
    ``localhost:9100``. Many machines share that one, so that one of them disproves no other's.
    """

    def __init__(self) -> None:
        self._named: dict[tuple[str, str], str] = {}
        """'' for a target without such a label. Those that were used last come last: of too many
        the first make room."""

    def note(self, labels: Mapping[str, str]) -> tuple[str, str] | None:
        """Learn from a series, and return the target about which it is news."""
        if labels.get("__name__", "") not in _OF_PROMETHEUS or not is_scraped(labels):
            return None
        target, label = target_of(labels), _naming_label(labels)
        before = self._named.get(target)
        if before in ("", label) or (label and before):
            return None
        if not label and _is_local(labels):
            return None
        self._named[target] = label
        if len(self._named) > _MAX_TARGETS:
            del self._named[next(iter(self._named))]
        return target if label or before else None

    def label(self, labels: Mapping[str, str]) -> str:
        """The label that names the machine of a series' target; empty where none is known."""
        target = target_of(labels)
        if target in self._named:
            self._named[target] = self._named.pop(target)
        return self._named.get(target, "")

    def may_tell(self, labels: Mapping[str, str]) -> bool:
        """Return whether another series of the target may change which label names its machine."""
        if not _naming_label(labels) or not is_scraped(labels):
            return False
        return self._named.get(target_of(labels)) != ""


def _naming_label(labels: Mapping[str, str]) -> str:
    """The label, beside ``instance``, that may name the machine of a target."""
    if "host" in labels:
        return "host"
    if not _is_local(labels):
        return ""
    return next((name for name in OTHER_LABELS if name in labels), "")


def _is_local(labels: Mapping[str, str]) -> bool:
    """Return whether ``instance`` is a name by which every machine calls itself."""
    return is_loopback(known_machine(labels.get("instance", "")) or "")


def target_of(labels: Mapping[str, str]) -> tuple[str, str]:
    """The values of the labels that name the target of a series."""
    return labels.get("job", ""), labels.get("instance", "")


def read_labels(encoded: bytes) -> tuple[dict[str, str], str]:
    """Labels with a value, in no order, and what is wrong with them.

    A label with an empty value is the same as no label.
    """
    try:
        pairs = pairs_of(encoded)
    except UnicodeDecodeError as error:
        return {}, f"a label is not UTF-8: {error.reason}"
    except InvalidBatch as error:
        return {}, f"a label is damaged: {error}"
    labels = honored({name: value for name, value in pairs if value})
    problems = [f"label {name!r} twice" for name in sorted(_repeated([name for name, _ in pairs]))]
    if "" in labels:
        problems.append("a label without a name")
    return labels, "; ".join(problems)


def named(
    labels: dict[str, str],
    problem: str,
    ignore: str,
    machine_label: str = "",
    targets: Targets | None = None,
) -> Understood | str | None:
    """The name of a series; or what is wrong with it; or None for one that is ignored.

    Args:
        labels: as ``read_labels`` has read them; they are used up.
        problem: what ``read_labels`` found wrong with them.
        ignore: pattern of names that nobody wants.
        machine_label: the label that names the machine before all others, where it is there.
        targets: what is known of the targets that series come from.
    """
    if not labels and problem:
        return problem
    name = labels.pop("__name__", "")
    if name and ignore and re.fullmatch(ignore, name):
        return None
    item = item_of(name)
    if item is None or problem:
        shown = f"series {name[:200] or '?'}{orjson.dumps(labels).decode()[:200]}"
        return f"{shown}: " + (problem or "it has no name")
    own = item.startswith(("node_", "windows_")) or item == "up"
    order = (machine_label, *_order(labels, targets))
    machine = _machine(labels, order, exporters_own=own)
    if item.startswith("node_"):
        labels.pop("job", None)
    kept = kept_labels(labels)
    return Understood(machine, item, kept.text, kept.cut)


def _repeated(names: list[str]) -> set[str]:
    return (
        {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else set()
    )


def _machine(labels: dict[str, str], order: Sequence[str], *, exporters_own: bool) -> str:
    """The machine, and take the label away that names it.

    ``instance`` stays a label where it says more than the machine, as the port that tells two
    exporters apart; but not of the machine's own exporter.
    """
    for label in order:
        found = known_machine(labels.get(label, "")) if label else None
        if found is None:
            continue
        text = labels.pop(label)
        if label == "instance" and not exporters_own and text.strip().rstrip(".").lower() != found:
            labels["instance"] = text
        return found
    # Not a machine's name, but it distinguishes targets.
    return machine_for(labels.get("instance", ""), labels.get("host", ""))


def _order(labels: Mapping[str, str], targets: Targets | None) -> tuple[str, ...]:
    """``instance`` before ``host`` where Prometheus has scraped it: it names the target then.

    The exporter's own ``host`` may be anything: a virtual host, a user's address, ``*``. Without
    Prometheus it is the other way round: ``instance`` may be a disk or a core. OpenTelemetry's
    ``instance`` is a UUID of the process, which is another after each restart.
    """
    if _UUID.fullmatch(labels.get("instance", "")):
        return ("host", *OTHER_LABELS, "instance")
    if not is_scraped(labels):
        return ("host", "instance", *OTHER_LABELS)
    given = targets.label(labels) if targets is not None else ""
    return (*filter(None, (given,)), "instance", "host", *OTHER_LABELS)
