"""A package's members as a tree of directories, in which links are resolved as a kernel would.

Each link is resolved once, whatever number of paths go through it, so the work grows with the
members and their depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

_MAX_LINKS = 40
"""The kernel follows no more links than that on one path."""


class Kind(Enum):
    """The kind of a member."""

    FILE = "file"
    DIRECTORY = "directory"
    LINK = "link"
    """A symbolic link."""
    COPY = "copy"
    """A hard link to an earlier member; it is unpacked as a file of its own."""
    OTHER = "other"


class Node:
    """A member of the package; a directory has children, a link a target."""

    __slots__ = ("children", "hops", "kind", "name", "parent", "reached", "size", "target")

    def __init__(self, parent: Node | None, name: str, kind: Kind) -> None:
        self.parent, self.name, self.kind = parent, name, kind
        self.children: dict[str, Node] = {}
        self.size = 0
        self.target = ""
        self.reached: Place | None = None
        self.hops = 0


@dataclass(frozen=True, slots=True)
class Place:
    """The end of a path: ``missing`` components below the last existing directory."""

    node: Node
    missing: int = 0
    hops: int = 0


class LeadsOutError(Exception):
    """A path climbs above the package."""


class TooManyLinksError(Exception):
    """A path goes through more links than the kernel follows, or in a circle."""


def resolve(link: Node, passed: int = 0) -> Place:
    """The place to which a link leads; it is remembered with the link."""
    if link.reached is None:
        if link.parent is None or link.target.startswith("/"):
            raise LeadsOutError
        place = walk(link.parent, link.target.split("/"), passed + 1)
        link.reached, link.hops = place, place.hops + 1
    elif passed + link.hops > _MAX_LINKS:
        raise TooManyLinksError
    return link.reached


def walk(start: Node, parts: Sequence[str], passed: int = 0) -> Place:
    """Follow a path as the kernel does; ``passed`` links were followed to come here."""
    node, missing, hops = start, 0, 0
    for part in parts:
        if part in ("", "."):
            continue
        if part == "..":
            if missing:
                missing -= 1
            elif node.parent is None:
                raise LeadsOutError
            else:
                node = node.parent
            continue
        child = None if missing else node.children.get(part)
        if child is None:
            missing += 1
        elif child.kind is Kind.LINK:
            if passed + hops >= _MAX_LINKS:
                raise TooManyLinksError
            place = resolve(child, passed + hops)
            node, missing, hops = place.node, place.missing, hops + child.hops
        else:
            node = child
    return Place(node, missing, hops)


def parts_of(name: str) -> list[str]:
    """The components of a member's name, without those that say nothing."""
    return [part for part in name.split("/") if part not in ("", ".")]


def name_of(node: Node) -> str:
    """The member's path, quoted and cut, for messages."""
    parts = []
    at: Node | None = node
    while at is not None and at.name:
        parts.append(at.name)
        at = at.parent
    return repr("/".join(reversed(parts))[:200])
