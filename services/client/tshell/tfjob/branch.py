"""Reading a document so that nothing of it is overlooked: what nobody took is named at the end."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import yaml

T = TypeVar("T")


@dataclass
class Findings:
    """What is wrong with a document, and what is worth knowing, each with its path."""

    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def fault(self, path: str, problem: str) -> None:
        self.faults.append(f"{path}: {problem}")

    def note(self, path: str, text: str) -> None:
        """Noted once, however often the same is found."""
        line = f"{path}: {text}"
        if line not in self.notes:
            self.notes.append(line)


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

    def keys(self) -> list[str]:
        return list(self._left)

    def take(self, key: str, kind: type[T]) -> T | None:
        """A field of this type; None where it is absent, null or, with a fault, of another."""
        value = self._left.pop(key, None)
        if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
            return value
        if value is not None:
            self._findings.fault(self.at(key), f"must be of type {kind.__name__}")
        return None

    def any(self, key: str) -> Any:
        """A field of whatever type."""
        return self._left.pop(key, None)

    def branch(self, key: str) -> Branch:
        """A mapping below this one, an empty one where it is absent."""
        return Branch(self._left.pop(key, None), self.at(key), self._findings)

    def branches(self, key: str) -> list[Branch]:
        """The mappings of a list below this one."""
        found = self.take(key, list) or []
        return [
            Branch(each, f"{self.at(key)}[{n}]", self._findings) for n, each in enumerate(found)
        ]

    def close(
        self, instead: Mapping[str, str] | None = None, harmless: Mapping[str, str] | None = None
    ) -> None:
        """Name every field nobody took: a note for ``harmless`` ones, else a fault."""
        for key in self._left:
            if harmless and key in harmless:
                self._findings.note(self.at(key), harmless[key])
            elif instead and key in instead:
                self._findings.fault(self.at(key), f"not supported; {instead[key]}")
            else:
                self._findings.fault(self.at(key), "not known here; correct or remove it")


class _StrictLoader(yaml.SafeLoader):
    """Safe YAML in which no field may be given twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _value in node.value:
            name = key.value
            if name in seen and name != "<<":
                raise yaml.constructor.ConstructorError(
                    None, None, f"the field {name!r} is given twice", key.start_mark
                )
            seen.add(name)
        return super().construct_mapping(node, deep)


def documents(text: str) -> list[Any]:
    """The YAML documents of ``text``, empty ones left out.

    Raises:
        yaml.YAMLError: for what is not YAML, or gives a field twice.
    """
    return [each for each in yaml.load_all(text, _StrictLoader) if each is not None]
