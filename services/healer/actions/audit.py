"""The audit log of decisions: who decided what about which action, by which rule and facts.

Entries lie in the healer's store, written in the transaction of what they tell, each with the
SHA-256 of the one before it. Exported they are JSON lines of the same form as an agent's audit,
and are checked by the same function.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from services.healer.model.decision import Decision, Facts
from services.healer.model.policy import Policy
from services.healer.remediations.audit import START, checked, hash_of, line_of, verify_lines
from shared.contracts.alerts import SeriesRef, Severity
from shared.store import Collection, Records

AT_ONCE = 1000


class Entry(BaseModel):
    """One entry of the audit log."""

    model_config = ConfigDict(frozen=True)

    number: int
    line: str
    about: str = ""


class Head(BaseModel):
    """The end of the chain."""

    model_config = ConfigDict(frozen=True)

    number: int = 0
    hash: str = START
    policy: str = ""
    """The digest of the last recorded policy."""


ENTRIES = Collection("audit", Entry, key=lambda e: _key(e.number), group=lambda e: e.about or None)


def _key(number: int) -> str:
    return f"{number:015d}"


HEADS = Collection("audit-head", Head, key=lambda _: "head")


def note(records: Records, at: datetime, event: str, about: str = "", **fields: object) -> str:
    """Append an entry in the caller's transaction, and return the new head.

    ``about``: an action's, incident's or command's id, by which entries can be found.
    """
    head = records.get(HEADS, "head") or Head()
    entry = {"at": at.astimezone(UTC).isoformat(), "event": event, "about": about, **fields}
    line = line_of(entry | {"previous": head.hash})
    number = head.number + 1
    records.put(ENTRIES, Entry(number=number, line=line.decode(), about=about))
    digest = str(fields.get("digest", head.policy)) if event == "policy" else head.policy
    records.put(HEADS, Head(number=number, hash=hash_of(line), policy=digest))
    return hash_of(line)


def note_decision(
    records: Records,
    policy: Policy,
    series: SeriesRef,
    severity: Severity,
    facts: Facts,
    decision: Decision,
    incident_id: str,
) -> None:
    """Record a decision with its facts, and the policy whenever it has changed."""
    text = policy.model_dump_json()
    digest = hashlib.sha256(text.encode()).hexdigest()
    if (records.get(HEADS, "head") or Head()).policy != digest:
        note(records, facts.now, "policy", digest=digest, policy=json.loads(text))
    rule = policy.rule(series, facts.kind)
    note(
        records,
        facts.now,
        "decided",
        incident_id,
        incident_id=incident_id,
        policy=digest,
        severity=severity.value,
        series=series.model_dump(mode="json"),
        facts=facts.model_dump(mode="json"),
        rule=rule.model_dump(mode="json") if rule else None,
        decision=decision.model_dump(mode="json"),
    )


def page(records: Records, after: int, upto: int) -> list[bytes]:
    """One page of lines after number ``after``, up to number ``upto``."""
    numbers = range(after + 1, min(after + AT_ONCE, upto) + 1)
    # Entries are read by key: numbers have no gaps, and a later page costs no more than the first.
    records.read_ahead(ENTRIES, keys=[_key(number) for number in numbers])
    found = [records.get(ENTRIES, _key(number)) for number in numbers]
    return [entry.line.encode() for entry in found if entry is not None]


def lines(records: Records) -> Iterator[bytes]:
    """The whole audit, oldest first."""
    head = records.get(HEADS, "head") or Head()
    for after in range(0, head.number, AT_ONCE):
        yield from page(records, after, head.number)


def replay(audit: Iterable[bytes]) -> list[str]:
    """Compute every decision of an exported audit log again; returns the differences."""
    policies: dict[str, Policy] = {}
    faults = []
    for number, line in enumerate(audit, start=1):
        entry = json.loads(line)
        if entry["event"] == "policy":
            policies[entry["digest"]] = Policy.model_validate(entry["policy"])
        if entry["event"] != "decided":
            continue
        policy = policies.get(entry["policy"])
        if policy is None:
            faults.append(f"line {number}: its policy is not in the audit")
            continue
        series = SeriesRef.model_validate(entry["series"])
        facts = Facts.model_validate(entry["facts"])
        again = policy.decide(series, Severity(entry["severity"]), facts)
        if again.model_dump(mode="json") != entry["decision"]:
            then = Decision.model_validate(entry["decision"])
            faults.append(f"line {number}: decided {then.level}, and {again.level} when replayed")
    return faults


def check(arguments: Sequence[str]) -> int:
    """``audit-verify FILE [HEAD]`` of the healer's exported audit: the exit status."""
    return checked(arguments, _verified)


def _verified(path: Path, head: str | None) -> tuple[list[str], str]:
    found = path.read_bytes().splitlines(keepends=True)
    return verify_lines(found, head) or replay(found), f"{len(found)} entries hold"


class StoreBook:
    """The audit log for remediations that the healer itself executes."""

    def __init__(
        self,
        transaction: Callable[[], AbstractContextManager[Records]],
        clock: Callable[[], datetime],
    ) -> None:
        self._transaction = transaction
        self._clock = clock
        self.head = START

    def note(self, event: str, **fields: object) -> None:
        """Append an entry in a separate transaction, which is committed on return."""
        about = str(fields.get("command_id", ""))
        with self._transaction() as records:
            self.head = note(records, self._clock(), event, about, **fields)

    def entries(self, command_id: str) -> list[dict[str, Any]]:
        """The entries for one command, in order."""
        with self._transaction() as records:
            found = records.find(ENTRIES, group=command_id, limit=10_000)
        entries = [json.loads(entry.line) for entry in found]
        return [entry for entry in entries if entry.get("command_id") == command_id]
