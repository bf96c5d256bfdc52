"""A TFJob object of the API server, apart from the job it describes; pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from shared.cluster import Object
from shared.contracts import JobSubmit, Role
from shared.tfjob import ROLES

VERSION, PLURAL, KIND = "kubeflow.org/v1", "tfjobs", "TFJob"
_ENDS = ("Succeeded", "Failed")
_OPERATOR = "kubeflow.org/training-operator"
_SPELLINGS = {"chief": "Chief", "master": "Master", "ps": "PS", "worker": "Worker"} | {
    "evaluator": "Evaluator",
}


class TFJob:
    """One object; reads what strangers wrote without trusting its types."""

    def __init__(self, item: Object) -> None:
        self.item = item
        self.uid = str(item["metadata"]["uid"])
        self.namespace = str(item["metadata"]["namespace"])
        self.name = str(item["metadata"]["name"])

    @property
    def status(self) -> dict[str, Any]:
        return dict(_mapping(self.item.get("status")))

    @property
    def conditions(self) -> list[dict[str, Any]]:
        found = self.status.get("conditions")
        if not isinstance(found, list):
            return []
        return [dict(each) for each in found if isinstance(each, dict)]

    def has(self, kind: str) -> bool:
        """Return whether the condition is there and true."""
        return any(c.get("type") == kind and c.get("status") == "True" for c in self.conditions)

    @property
    def finished(self) -> bool:
        """True if its status has its end; nothing is done to it any more but what time asks."""
        return any(self.has(kind) for kind in _ENDS)

    @property
    def going(self) -> bool:
        """True if somebody has deleted it, and something else still holds it."""
        return bool(self.item["metadata"].get("deletionTimestamp"))

    @property
    def suspended(self) -> bool:
        return self._run_policy.get("suspend") is True

    @property
    def another_controllers(self) -> bool:
        """True if it says itself that a controller of another cluster runs it."""
        return self._run_policy.get("managedBy") not in (None, "", _OPERATOR)

    @property
    def begun_elsewhere(self) -> bool:
        """True if another operator has made pods of it, as far as its status tells.

        Only for one that is not known here: ours has a record as long as it is not finished.
        """
        return self.has("Created") and not self.has("Suspended")

    def expired(self, now: datetime) -> bool:
        """Return whether it is finished and ``ttlSecondsAfterFinished`` are over."""
        seconds = self._run_policy.get("ttlSecondsAfterFinished")
        ended = self.status.get("completionTime")
        if type(seconds) is not int or not isinstance(ended, str) or not self.finished:
            return False
        try:
            return now >= datetime.fromisoformat(ended) + timedelta(seconds=seconds)
        except (ValueError, OverflowError, TypeError):
            return False  # an end that is no moment, or one that lies beyond all calendars

    def replica_types(self, submit: JobSubmit | None) -> dict[str, Role | None]:
        """The names of its replica types as v1 spells them, each with the role it became."""
        found: dict[str, Role | None] = {}
        specs = _mapping(_mapping(self.item.get("spec")).get("tfReplicaSpecs"))
        for key, spec in specs.items():
            role = ROLES.get(str(key).lower())
            if role is not None:
                none = _mapping(spec).get("replicas") == 0
                found[_SPELLINGS[str(key).lower()]] = None if none else _role(role, submit)
        return found

    def described(self) -> Object:
        """The document for the import: the job itself, without what is dealt with here."""
        spec = dict(_mapping(self.item.get("spec")))
        policy = {
            key: value
            for key, value in self._run_policy.items()
            if key not in {"suspend", "managedBy", "ttlSecondsAfterFinished"}
        }
        if isinstance(spec.get("runPolicy"), Mapping):
            spec["runPolicy"] = policy
        return {
            "apiVersion": VERSION,
            "kind": KIND,
            "metadata": {"name": self.name},
            "spec": spec,
        }

    @property
    def _run_policy(self) -> Mapping[str, Any]:
        return _mapping(_mapping(self.item.get("spec")).get("runPolicy"))


def _role(name: str, submit: JobSubmit | None) -> Role | None:
    """The members of a job that stand for a replica type; None where there are none."""
    role = Role(name)
    if submit is None:
        return None
    if submit.type == "single":
        return Role.WORKER if role in {Role.WORKER, Role.CHIEF} else None
    return role if role in submit.roles() else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
