"""A TFJob's labels and its annotations about notifications."""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter, ValidationError

from shared.contracts.job_notices import JobNotify
from shared.contracts.job_parts import JobLabels
from shared.tfjob import advice
from shared.tfjob.branch import Branch, Findings
from shared.validation import problem_of

NOTIFY = "barograph.io/notify"
NOTIFY_ON = "barograph.io/notify-on"
NOTIFY_PENDING = "barograph.io/notify-pending-seconds"
_MAX_LABELS = 32
_LABELS: TypeAdapter[dict[str, str]] = TypeAdapter(JobLabels)


def notices(metadata: Branch, findings: Findings) -> dict[str, Any]:
    """The job's ``labels`` and ``notify``, as far as the TFJob has them."""
    labels = _labels(metadata.branch("labels"), findings)
    notify = _notify(metadata.branch("annotations"), findings)
    return ({"labels": labels} if labels else {}) | ({"notify": notify} if notify else {})


def _labels(branch: Branch, findings: Findings) -> dict[str, str]:
    found: dict[str, str] = {}
    left_out = []
    for name in branch.names():
        value = branch.any(name)
        try:
            label = _LABELS.validate_python({name: value}, strict=True)
        except ValidationError:
            label = {}
        if label and len(found) < _MAX_LABELS:
            found |= label
        else:
            left_out.append(name)
    if left_out:
        many = f"{len(left_out)} of them are no labels that a job may have"
        findings.note(branch.path, f"left out: {many}, such as {left_out[0][:100]}")
    return found


def _notify(branch: Branch, findings: Findings) -> dict[str, Any] | None:
    targets, kinds = _words(branch, NOTIFY), _words(branch, NOTIFY_ON)
    pending = _words(branch, NOTIFY_PENDING)
    branch.close(harmless=dict.fromkeys(branch.names(), advice.METADATA["annotations"]))
    if not targets:
        if kinds or pending:
            findings.fault(branch.at(NOTIFY), "is missing: it names the recipients")
        return None
    given: dict[str, Any] = {"to": targets}
    given |= {"on": kinds} if kinds else {}
    given |= {"pending_s": pending[0]} if pending else {}
    try:
        return JobNotify.model_validate(given).model_dump(mode="json")
    except ValidationError as error:
        names = {"to": NOTIFY, "on": NOTIFY_ON, "pending_s": NOTIFY_PENDING}
        for each in error.errors(include_url=False, include_input=False, include_context=False):
            findings.fault(branch.at(names.get(str(each["loc"][0]), NOTIFY)), problem_of(each))
        return None


def _words(branch: Branch, name: str) -> list[str]:
    """The words of an annotation, which commas or spaces keep apart."""
    return (branch.take(name, str) or "").replace(",", " ").split()
