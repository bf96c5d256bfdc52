"""Recovers every valid sample from a JSON batch that violates its contract."""

from __future__ import annotations

import codecs
from collections.abc import Mapping
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from shared.contracts import Fault
from shared.contracts.message import HostName
from shared.contracts.metrics import MAX_SAMPLES, Sample
from shared.samples import SampleBatch, from_rows, item_of, kept_labels
from shared.validation import problem_of

_HOST: TypeAdapter[str] = TypeAdapter(HostName)
_MAX_FAULTS = 20


def good_samples(body: bytes) -> tuple[SampleBatch, list[Fault]]:
    """The samples that can be kept, and what is wrong with the first of the others.

    Empty without a body that names a machine: then no sample can be named.
    """
    try:
        message = orjson.loads(body.removeprefix(codecs.BOM_UTF8))
        host = _HOST.validate_python(message["host"])
        samples = list(message["samples"])
    except (orjson.JSONDecodeError, ValidationError, TypeError, KeyError):
        return from_rows(()), []
    rows, faults = [], []
    for number, each in enumerate(samples[:MAX_SAMPLES]):
        try:
            sample = Sample.model_validate(_under_kept_names(each))
        except ValidationError as error:
            faults += [
                Fault(
                    field=f"samples.{number}.{'.'.join(map(str, e['loc']))}", problem=problem_of(e)
                )
                for e in error.errors(include_url=False, include_input=False)
            ]
            continue
        labels = kept_labels(sample.labels).text
        rows.append((host, sample.item, labels, sample.time_ms, sample.value))
    if len(samples) > MAX_SAMPLES:
        problem = f"{len(samples)} samples, more than {MAX_SAMPLES}"
        faults.insert(0, Fault(field="samples", problem=problem))
    return from_rows(rows), _first(faults)


def _under_kept_names(sample: object) -> object:
    """The sample with its names as they are kept, where they are texts."""
    if not isinstance(sample, Mapping):
        return sample
    found: dict[str, Any] = dict(sample)
    item, labels = found.get("item"), found.get("labels")
    if isinstance(item, str):
        found["item"] = item_of(item)
    if isinstance(labels, Mapping) and all(isinstance(v, str) for v in labels.values()):
        text = kept_labels(labels).text
        found["labels"] = orjson.loads(text) if text else {}
    if labels is None:
        found["labels"] = {}
    return found


def _first(faults: list[Fault]) -> list[Fault]:
    if len(faults) <= _MAX_FAULTS:
        return faults
    more = Fault(field="samples", problem=f"and {len(faults) - _MAX_FAULTS} more faults")
    return [*faults[:_MAX_FAULTS], more]
