"""Remote write requests to batches: snappy, protobuf, names checked, every fault named."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

import cramjam
import orjson
from pydantic import TypeAdapter, ValidationError

from services.detector.gateway.protobuf import Labels, label_of, read_number, series_of
from shared.contracts.message import HostName
from shared.contracts.metrics import MAX_SAMPLES, ItemName, LabelName, LabelValue
from shared.samples import (
    MAX_LABELS,
    MAX_TIME_MS,
    InvalidBatch,
    SampleBatch,
    from_rows,
    labels_text,
)

_HOST: TypeAdapter[str] = TypeAdapter(HostName)
_ITEM: TypeAdapter[str] = TypeAdapter(ItemName)
_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(dict[LabelName, LabelValue])
_HOST_LABELS = ("host", "instance")
_PORT = re.compile(r":\d{1,5}$")
_SERIES_KEPT = 200_000
_SIZE_BYTES = 5
_MOST_FAULTS = 20

Row = tuple[str, str, str, int, float]


@dataclass
class Received:
    """What a request held: the good samples, and what is wrong with the others."""

    batch: SampleBatch
    faults: list[str] = field(default_factory=list)


def decompress(body: bytes, most_bytes: int) -> bytes:
    """The body without its snappy block compression.

    Raises InvalidBatch if it is not snappy, or claims to be larger than ``most_bytes``: the size
    stands in front, so nothing is unpacked to find out.
    """
    size, _ = read_number(body, 0, min(len(body), _SIZE_BYTES))
    if size > most_bytes:
        raise InvalidBatch([f"{size} bytes when decompressed, more than {most_bytes}"])
    try:
        return bytes(cramjam.snappy.decompress_raw(body))
    except cramjam.DecompressionError as error:
        raise InvalidBatch([f"not snappy block format: {error}"]) from error


class Receiver:
    """Turns requests into batches; remembers what each series' encoded labels mean."""

    def __init__(self, ignore: str) -> None:
        self._ignore = re.compile(ignore) if ignore else None
        self._known: dict[Labels, tuple[str, str, str] | str | None] = {}

    def read(self, data: bytes) -> Received:
        """The samples of a decompressed request.

        Good samples of a request with bad ones are kept, as the protocol allows. Raises
        InvalidBatch for a request that is damaged or too large as a whole.
        """
        rows: list[Row] = []
        faults: list[str] = []
        wrong = 0
        for labels, samples in series_of(data):
            series = self._series(labels)
            if series is None:
                continue
            if isinstance(series, str):
                wrong += 1
                faults.append(series)
                continue
            for time_ms, value in samples:
                if not 0 <= time_ms <= MAX_TIME_MS:
                    faults.append(f"{series[1]} of {series[0]}: {time_ms} is not a Unix time in ms")
                    continue
                # Infinity says as little as a staleness marker does: there is no value.
                rows.append((*series, time_ms, math.nan if math.isinf(value) else value))
            if len(rows) > MAX_SAMPLES:
                raise InvalidBatch([f"more than {MAX_SAMPLES} samples in one request"])
        if len(faults) > _MOST_FAULTS:
            faults = [*faults[:_MOST_FAULTS], f"and {len(faults) - _MOST_FAULTS} more"]
        return Received(from_rows(rows), faults)

    def _series(self, labels: Labels) -> tuple[str, str, str] | str | None:
        """Host, item and labels text; or what is wrong; or None for an ignored series."""
        if labels not in self._known:
            if len(self._known) >= _SERIES_KEPT:
                self._known.clear()
            self._known[labels] = self._resolve(labels)
        return self._known[labels]

    def _resolve(self, encoded: Labels) -> tuple[str, str, str] | str | None:
        try:
            pairs = [label_of(label) for label in encoded]
        except UnicodeDecodeError as error:
            return f"a label is not UTF-8: {error.reason}"
        except InvalidBatch as error:
            return f"a label is damaged: {error}"
        labels = {name: value for name, value in pairs if value}
        names = [name for name, _ in pairs]
        item = labels.pop("__name__", "")
        if item and self._ignore and self._ignore.fullmatch(item):
            return None
        shown = f"series {item or '?'}{orjson.dumps(labels).decode()[:200]}"
        problems = [f"label {n!r} twice" for n in sorted({n for n in names if names.count(n) > 1})]
        host = next((labels.pop(name) for name in _HOST_LABELS if name in labels), "")
        if not host:
            problems.append("no label host or instance says which machine it is about")
        else:
            problems += _problems("host", _HOST, host)
        problems += _problems("name", _ITEM, item) + _problems("labels", _LABELS, labels)
        if len(labels) > MAX_LABELS:
            problems.append(f"{len(labels)} labels, more than {MAX_LABELS}")
        if problems:
            return f"{shown}: " + "; ".join(problems)
        return _named(host, item, labels)


def _named(host: str, item: str, labels: dict[str, str]) -> tuple[str, str, str]:
    """The machine without the exporter's port; a port that tells exporters apart stays a label."""
    machine = _PORT.sub("", host)
    if machine != host and not item.startswith("node_") and item != "up":
        labels = labels | {"instance": host}
    if item.startswith("node_"):
        labels = {name: value for name, value in labels.items() if name != "job"}
    return machine, item, labels_text(labels)


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
