"""A file's bytes as one document of plain values, whatever the file holds.

YAML lets a short file stand for an endless one (aliases), nest without end, and name its fields by
lists. What Kubernetes takes is JSON in another dress, so that is all that is read here: mappings
with text as keys, lists, text, numbers, true, false and null, within stated bounds.
"""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterator
from typing import Any

import yaml

MAX_BYTES = 2**20
"""Kubernetes' own store takes no larger objects than 1.5 MiB."""
_MAX_DEPTH = 64
_MAX_VALUES = 100_000
_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_COLLECTIONS = ("tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")
_COMMENT = re.compile(r"(?:^|[\s,{\[])(?://|/\*)")
_UNSEEN = re.compile("[\u00a0\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u2064\ufeff]")
_TEMPLATE = "if the file is a template ({{ }}), render it first, e.g. by `helm template`"


class UnreadableError(Exception):
    """The file holds no document; the text says why."""


def document(data: bytes, *, as_written: bool = False) -> Any:
    """The one document of a YAML or JSON file.

    Args:
        data: the file.
        as_written: numbers, and YAML's truth values, are kept as the text that stands there, for a
            reader that knows which fields are text: there ``no``, ``010`` and ``1.10`` are no
            truth value and no numbers.

    Raises:
        UnreadableError: when there is none, or more than one, or it breaks a bound.
    """
    if len(data) > MAX_BYTES:
        raise UnreadableError(f"the file has more than {MAX_BYTES} bytes")
    text = _decoded(data)
    if text.lstrip().startswith("{"):
        try:
            number = str if as_written else None
            value = json.loads(
                text, object_pairs_hook=_unique, parse_int=number, parse_float=number
            )
        except (ValueError, RecursionError):
            pass  # a YAML mapping in braces; its reader says best what is wrong
        else:
            return _plain(value)
    try:
        found = [each for each in _nodes(text) if each is not None]
        values = [_Values(as_written).of(node) for node in found]
    except (yaml.YAMLError, RecursionError, ValueError, OverflowError) as error:
        # PyYAML raises the last two for characters beyond Unicode: "\\U00110000", "\\UFFFFFFFF".
        hint = f"\n{_TEMPLATE}" if "{%" in text else ""
        if text.lstrip().startswith(("{", "/")) and _COMMENT.search(text):
            hint += "\ncomments of // and /* */ are none here: begin them with #, or remove them"
        raise UnreadableError(f"not usable YAML: {_short(error)}{hint}") from error
    kept = [value for value in values if value is not None]
    if len(kept) != 1:
        raise UnreadableError(f"the file must hold one job, it holds {len(kept)} documents")
    return kept[0]


def _decoded(data: bytes) -> str:
    try:
        return data.decode("utf-16" if data.startswith(_UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(f"not text in UTF-8: byte {error.start} is none of it") from error


def _short(error: Exception) -> str:
    return "nested too deeply" if isinstance(error, RecursionError) else str(error)[:1000]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a field is given twice")  # the YAML reader names it
    return found


class _Loader(yaml.SafeLoader):
    """Stops at a bound while it reads, not afterwards."""

    depth = 0
    count = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        self.depth += 1
        self.count += 1
        if self.depth > _MAX_DEPTH or self.count > _MAX_VALUES:
            what = "nested too deeply" if self.depth > _MAX_DEPTH else "too many values"
            raise yaml.composer.ComposerError(None, None, what, self.get_mark())
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def _nodes(text: str) -> Iterator[yaml.Node | None]:
    loader = _Loader(text)
    try:
        while loader.check_node():
            yield loader.get_node()
    finally:
        loader.dispose()


class _Values:
    """Values of nodes; what aliases repeat is counted as often as it stands."""

    def __init__(self, as_written: bool) -> None:
        self._count = 0
        self._as_written = as_written
        self._scalars = yaml.constructor.SafeConstructor()

    def of(self, node: yaml.Node, depth: int = 0) -> Any:
        self._count += 1
        if depth > _MAX_DEPTH or self._count > _MAX_VALUES:
            raise _wrong(node, "its aliases unfold into too much")
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if node.tag not in _COLLECTIONS:
            raise _foreign(node)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, depth)
        return [self.of(each, depth + 1) for each in node.value]

    def _mapping(self, node: yaml.MappingNode, depth: int) -> dict[str, Any]:
        own: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise _wrong(key, f"a field's name must be text; {_TEMPLATE}")
            if key.tag == "tag:yaml.org,2002:merge":
                merged = self._merged(value, depth) | merged
                continue
            name = _text(key)
            if unseen := _UNSEEN.search(name):
                code = f"U+{ord(unseen.group()):04X}"
                raise _wrong(key, f"a field's name has a character that nobody sees, {code}")
            if name in own:
                raise _wrong(key, f"the field {name!r} is given twice")
            own[name] = self.of(value, depth + 1)
        return merged | own

    def _merged(self, node: yaml.Node, depth: int) -> dict[str, Any]:
        value = self.of(node, depth + 1)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(part, dict) for part in parts):
            raise _wrong(node, "only mappings can be merged by <<")
        return {name: each for part in reversed(parts) for name, each in part.items()}

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        sixties = kind in {"int", "float"} and ":" in node.value  # 12:30, to PyYAML alone
        if sixties or (self._as_written and kind in {"bool", "int", "float"}):
            return _text(node)
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return self._scalars.construct_yaml_bool(node)
            if kind == "int":
                return self._scalars.construct_yaml_int(node)
            if kind == "float":
                return _finite(self._scalars.construct_yaml_float(node))
        except (ValueError, OverflowError, KeyError, IndexError) as error:
            raise _wrong(node, f"{node.value[:60]!r} is not a usable {kind}") from error
        if kind not in {"str", "timestamp", "value", "merge"}:  # as Kubernetes: dates are text
            raise _foreign(node)
        return _text(node)


def _text(node: yaml.Node) -> str:
    try:
        return _written(node.value)
    except ValueError as error:
        raise _wrong(node, str(error)) from error


def _written(text: str) -> str:
    """``text``, when it can be written into messages, files and arguments."""
    if "\x00" in text or any("\ud800" <= each <= "\udfff" for each in text):
        raise ValueError("a NUL character or half a surrogate pair cannot be passed on")
    return text


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _foreign(node: yaml.Node) -> yaml.YAMLError:
    return _wrong(node, f"the tag {node.tag[:60]!r} is not accepted here")


def _wrong(node: yaml.Node, problem: str) -> yaml.YAMLError:
    return yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _plain(value: Any, depth: int = 0) -> Any:
    """A document that was JSON, under the same rules."""
    if depth > _MAX_DEPTH:
        raise UnreadableError("not usable JSON: nested too deeply")
    try:
        if isinstance(value, dict):
            return {_written(key): _plain(each, depth + 1) for key, each in value.items()}
        if isinstance(value, list):
            return [_plain(each, depth + 1) for each in value]
        if isinstance(value, str):
            return _written(value)
        return _finite(value) if isinstance(value, float) else value
    except ValueError as error:
        raise UnreadableError(f"not usable JSON: {error}") from error
