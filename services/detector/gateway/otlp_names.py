"""Names and labels that Prometheus gives to OpenTelemetry's metrics."""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any

import orjson
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

Labels = dict[str, str]

_MAX_ATTRIBUTE_BYTES = 65_536
_UNITS = {
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
    "min": "minutes",
    "h": "hours",
    "d": "days",
    "By": "bytes",
    "KiBy": "kibibytes",
    "MiBy": "mebibytes",
    "GiBy": "gibibytes",
    "bit": "bits",
    "m": "meters",
    "V": "volts",
    "A": "amperes",
    "J": "joules",
    "W": "watts",
    "g": "grams",
    "Cel": "celsius",
    "Hz": "hertz",
    "%": "percent",
}
_OF_RESOURCE = re.compile(
    r"k8s\.|service\.(name|namespace|instance\.id)$|host\.name$|container\.name$"
    r"|deployment\.environment"
)
_KEPT = re.compile(r"k8s\.|container\.name$|deployment\.environment")
"""Attributes of the resource that become labels, beside those of the service."""


def metric_name(name: str, unit: str, kind: str, monotonic: bool) -> str:
    """Prometheus' name of a metric: unit and ``_total`` at its end."""
    base = _sanitized(name)
    suffix = _UNITS.get(unit, "")
    if unit == "1" and kind == "gauge":
        suffix = "ratio"
    if suffix and suffix not in base.split("_"):
        base = f"{base}_{suffix}"
    if kind == "sum" and monotonic and not base.endswith("_total"):
        base = f"{base}_total"
    return base


def _sanitized(text: str) -> str:
    # Letters of any script stay: two metrics with Chinese names are two.
    found = re.sub(r"[^\w:]+", "_", text)
    return f"_{found}" if found[:1].isdigit() else found


def resource_labels(attributes: Any) -> Labels:
    """``job`` and ``instance`` as Prometheus makes them, and what names machines."""
    values = {each.key: _text(each.value) for each in attributes if _OF_RESOURCE.match(each.key)}
    labels = {_sanitized(key): value for key, value in values.items() if _KEPT.match(key)}
    service, space = values.get("service.name", ""), values.get("service.namespace", "")
    if service:
        labels["job"] = f"{space}/{service}" if space else service
    host, instance = values.get("host.name", ""), values.get("service.instance.id", "")
    if host:
        labels["host"] = host
    if instance:
        # If the machine is known, the instance does not name it.
        labels["service_instance_id" if host else "instance"] = instance
    return labels


def labels_of(attributes: Any, common: Labels) -> Labels:
    """The attributes of a point beside its resource's labels; those of one name are joined.

    What a point says of a ``host`` is not where it was measured, if its resource tells that: it
    becomes ``exported_host``, as Prometheus does with a target's own labels.
    """
    found: Labels = {}
    for each in sorted(attributes, key=_key):
        name = _sanitized(each.key) or "_"
        name = f"key{name}" if name.startswith("__") else name
        name = f"exported_{name}" if name in common else name
        text = _text(each.value)
        found[name] = f"{found[name]};{text}" if name in found else text
    return common | found


def _key(pair: KeyValue) -> str:
    return pair.key


def _text(value: AnyValue) -> str:
    kind = value.WhichOneof("value")
    if kind is None:
        return ""
    if kind == "bool_value":
        return "true" if value.bool_value else "false"
    if value.ByteSize() > _MAX_ATTRIBUTE_BYTES:
        # It only distinguishes series.
        return f"~{blake2b(value.SerializeToString(deterministic=True), digest_size=8).hexdigest()}"
    if kind in ("array_value", "kvlist_value", "bytes_value"):
        return orjson.dumps(MessageToDict(value)).decode()
    return str(getattr(value, kind))
