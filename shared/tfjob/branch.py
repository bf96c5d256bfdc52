"""Walks a document and reports every field that was not read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from shared.tfjob import advice

T = TypeVar("T")
MAX_ENTRIES = 500
"""The longest list (containers, volumes, mounts, variables) that is read."""
_MUST_BE = {
    str: "text; put a number or a date in quotes",
    list: "a list, e.g. [python3, train.py]",
    int: "a whole number",
    bool: "true or false",
}


@dataclass
class Findings:
    """A document's faults and notes, each with its path."""

    faults: list[str] = field(default_factory=list)
    surplus: list[str] = field(default_factory=list)
    """The fields that are not supported: a job without them can run, if people want that."""
    _notes: dict[str, None] = field(default_factory=dict)
    _wrong: set[str] = field(default_factory=set)
    """The paths of the faults."""

    @property
    def notes(self) -> list[str]:
        """The notes that are worth knowing."""
        return list(self._notes)

    def fault(self, path: str, problem: str) -> None:
        """Something that is needed is absent or wrong."""
        self._wrong.add(path)
        self.faults.append(_printable(f"{path}: {problem}"))

    def missing(self, path: str, problem: str) -> None:
        """Report a missing required field, unless it is present in another form."""
        if path not in self._wrong:
            self.fault(path, problem)

    def unsupported(self, path: str, problem: str) -> None:
        """Something that is asked for cannot be had here."""
        self.surplus.append(_printable(f"{path}: {problem}"))

    def note(self, path: str, text: str) -> None:
        """Noted once, however often the same is found."""
        self._notes.setdefault(_printable(f"{path}: {text}"))


class Branch:
    """A mapping of the document at ``path``; remembers which of its fields were taken."""

    def __init__(self, value: object, path: str, findings: Findings) -> None:
        self.path, self._findings = path, findings
        if value is not None and not isinstance(value, Mapping):
            findings.fault(path or "the file", "must be a mapping")
        self._left: dict[str, Any] = (
            {str(key): each for key, each in value.items()} if isinstance(value, Mapping) else {}
        )

    def at(self, key: str) -> str:
        """The path of a field."""
        return f"{self.path}.{key}" if self.path else key

    def names(self) -> list[str]:
        """The names of the fields that are still to be taken."""
        return list(self._left)

    def peek(self, key: str) -> object:
        """A field that is still to be taken."""
        return self._left.get(key)

    def take(self, key: str, kind: type[T]) -> T | None:
        """A field of this type; None where it is absent, null or, with a fault, of another."""
        value = self._left.pop(key, None)
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        if value is not None:
            self._findings.fault(self.at(key), f"must be {_MUST_BE[kind]}")
        return None

    def put(self, key: str, value: object) -> None:
        """Add a field that the document has elsewhere."""
        self._left[key] = value

    def any(self, key: str) -> Any:
        """A field of whatever type."""
        return self._left.pop(key, None)

    def branch(self, key: str) -> Branch:
        """A mapping below this one, an empty one where it is absent."""
        return Branch(self._left.pop(key, None), self.at(key), self._findings)

    def branches(self, key: str) -> list[Branch]:
        """The mappings of a list below this one."""
        found = self.take(key, list) or []
        if len(found) > MAX_ENTRIES:
            problem = f"has {len(found)} entries; at most {MAX_ENTRIES} are read"
            self._findings.fault(self.at(key), problem)
        return [
            Branch(each, f"{self.at(key)}[{n}]", self._findings)
            for n, each in enumerate(found[:MAX_ENTRIES])
        ]

    def close(
        self, instead: Mapping[str, str] | None = None, harmless: Mapping[str, str] | None = None
    ) -> None:
        """Report every unread field with an effect, unless it is harmless."""
        for key, value in self._left.items():
            if _asks_nothing(value) or value in advice.DEFAULTS.get(key, ()):
                continue
            if harmless and key in harmless:
                self._findings.note(self.at(key), harmless[key])
            elif instead and key in instead:
                self._findings.unsupported(self.at(key), f"not supported; {instead[key]}")
            else:
                self._findings.unsupported(self.at(key), "not known here; correct or remove it")


def _asks_nothing(value: object) -> bool:
    """Return whether Kubernetes treats ``value`` as absent: null, false, empty."""
    if isinstance(value, Mapping):
        return all(_asks_nothing(each) for each in value.values())
    return value is None or value is False or value in ("", [])


def _printable(line: str) -> str:
    """``line`` as a terminal may show it: the names in it are the file's."""
    shown = (c if c.isprintable() else c.encode("unicode_escape").decode() for c in line[:1000])
    return "".join(shown)
