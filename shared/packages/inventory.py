"""The rules of a package: what may be in it, judged member by member.

Packing, checking and unpacking all add their members to an ``Inventory``, so there is one set of
rules. Members stand in a tree of directories: time and memory grow with the members and the
depth, and links are resolved in the tree as the kernel would, once every member is known.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from shared.packages.bounds import MAX_FAULTS, Bounds, PackageRefused

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


@dataclass(frozen=True, slots=True)
class Entry:
    """A member; ``size`` in bytes once it is written, ``target`` of a link or a copy."""

    name: str
    kind: Kind
    size: int = 0
    target: str = ""


class _Node:
    __slots__ = ("children", "hops", "kind", "name", "parent", "reached", "size", "target")

    def __init__(self, parent: _Node | None, name: str, kind: Kind) -> None:
        self.parent, self.name, self.kind = parent, name, kind
        self.children: dict[str, _Node] = {}
        self.size = 0
        self.target = ""
        self.reached: _Place | None = None
        self.hops = 0


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a path ends: ``missing`` components below the last directory there is."""

    node: _Node
    missing: int = 0
    hops: int = 0


class _LeadsOutError(Exception):
    """A path climbs above the package."""


class _TooManyLinksError(Exception):
    """A path goes through more links than the kernel follows, or in a circle."""


class Inventory:
    """All members of one package.

    Args:
        bounds: how much the package may hold.
        packed: its size in the store; None while it is being made.
    """

    def __init__(self, bounds: Bounds, packed: int | None = None) -> None:
        self._bounds, self._packed = bounds, packed
        self._root = _Node(None, "", Kind.DIRECTORY)
        self._links: list[_Node] = []
        self._nodes = self._bytes = self._names = 0
        self.faults: list[str] = []

    def add(self, entry: Entry) -> Entry | None:
        """The member as it is to be written; None when nothing is to be.

        Raises:
            PackageRefused: when going on would be of no use.
        """
        self._count(len(entry.name) + len(entry.target))
        parts = parts_of(entry.name)
        if not parts and entry.kind is Kind.DIRECTORY and not entry.name.startswith("/"):
            return None  # "./", the archive's own root, which tar writes for `tar -C folder .`
        found = [*_name_faults(entry.name, parts, self._bounds)]
        found += _size_faults(entry, self._bounds)
        placed = None
        if not found:
            placed = self._place(replace(entry, name="/".join(parts)), parts, found)
        shown = repr(entry.name[:200])
        self.faults += [f"{shown}: {fault}" for fault in found]
        self._stop_early()
        return placed

    def reached(self, position: int) -> None:
        """The package's stream has yielded so many bytes.

        Raises:
            PackageRefused: when that is more than a package may hold.
        """
        total, bounds = max(position, self._bytes), self._bounds
        if total > bounds.total_bytes:
            raise PackageRefused([*self.faults, f"unpacks to more than {bounds.total_bytes} bytes"])
        packed = self._packed
        if packed is not None and total > max(bounds.ratio_from_bytes, bounds.ratio * packed):
            reason = (
                f"unpacks to more than {bounds.ratio:g} times its size and more than"
                f" {bounds.ratio_from_bytes >> 20} MiB: let the program make such data"
            )
            raise PackageRefused([*self.faults, reason])

    def packed_to(self, packed: int, stream: int) -> None:
        """The archive is made: ``packed`` bytes which yield ``stream`` bytes.

        Raises:
            PackageRefused: as ``reached`` does.
        """
        self._packed = packed
        self.reached(stream)

    def finish(self) -> None:
        """Every member is known: resolve the links.

        Raises:
            PackageRefused: naming every fault.
        """
        for link in self._links:
            try:
                self._resolve(link)
            except _LeadsOutError:
                self.faults.append(f"{_name_of(link)}: a link that leads out of the package")
            except _TooManyLinksError:
                self.faults.append(f"{_name_of(link)}: a link through too many links")
            self._stop_early()
        if not self._root.children and not self.faults:
            self.faults.append("empty")
        if self.faults:
            raise PackageRefused(self.faults)

    def leads_to_member(self, name: str) -> bool:
        """Whether the link of that name ends at something in the package."""
        try:
            return self._walk(self._root, parts_of(name), 0).missing == 0
        except (_LeadsOutError, _TooManyLinksError):
            return False

    @property
    def top(self) -> tuple[str, ...]:
        """Names of what lies in the package itself."""
        return tuple(self._root.children)

    def names_in(self, path: str) -> tuple[str, ...]:
        """Names of what lies in a folder of the package."""
        try:
            place = self._walk(self._root, path.split("/"), 0)
        except (_LeadsOutError, _TooManyLinksError):
            return ()
        return () if place.missing else tuple(place.node.children)

    def kind(self, path: str) -> Kind | None:
        """The member to which a path leads; None when that is nothing in the package."""
        try:
            place = self._walk(self._root, path.split("/"), 0)
        except (_LeadsOutError, _TooManyLinksError):
            return None
        return None if place.missing else place.node.kind

    def _count(self, characters: int) -> None:
        self._names += characters
        if self._names > self._bounds.names_bytes:
            reason = f"names of more than {self._bounds.names_bytes} bytes together"
            raise PackageRefused([*self.faults, reason])

    def _stop_early(self) -> None:
        if len(self.faults) >= MAX_FAULTS:
            raise PackageRefused(self.faults)

    def _place(self, entry: Entry, parts: Sequence[str], faults: list[str]) -> Entry | None:
        if entry.kind is Kind.COPY:
            copied = self._copied(entry)
            if copied is None:
                faults.append("a hard link to no earlier file of the package")
                return None
            entry = copied
        node = self._root
        for part in parts[:-1]:
            node = node.children.get(part) or self._new(node, part, Kind.DIRECTORY)
            if node.kind is not Kind.DIRECTORY:
                faults.append("lies below a link or a file")
                return None
        kind = Kind.FILE if entry.kind is Kind.COPY else entry.kind
        known = node.children.get(parts[-1])
        if known is not None:
            if kind is Kind.DIRECTORY and known.kind is Kind.DIRECTORY:
                return entry
            faults.append("comes twice")
            return None
        node = self._new(node, parts[-1], kind)
        node.size, node.target = entry.size, entry.target
        self._bytes += entry.size
        if kind is Kind.LINK:
            self._links.append(node)
        return entry

    def _copied(self, entry: Entry) -> Entry | None:
        """A hard link, by what it is a link to: a file, or a symbolic link of the same text."""
        node: _Node | None = self._root
        for part in parts_of(entry.target):
            node = None if node is None else node.children.get(part)
        if node is None or node.kind not in (Kind.FILE, Kind.LINK):
            return None
        if node.kind is Kind.LINK:
            return replace(entry, kind=Kind.LINK, size=0, target=node.target)
        return replace(entry, size=node.size, target="/".join(parts_of(entry.target)))

    def _new(self, parent: _Node, name: str, kind: Kind) -> _Node:
        self._nodes += 1
        if self._nodes > self._bounds.members:
            raise PackageRefused([*self.faults, f"more than {self._bounds.members} members"])
        node = parent.children[name] = _Node(parent, name, kind)
        return node

    def _resolve(self, link: _Node, passed: int = 0) -> _Place:
        """Where a link leads; each is resolved once, whatever number of paths go through it."""
        if link.reached is None:
            if link.target.startswith("/"):
                raise _LeadsOutError
            parent = link.parent or self._root
            place = self._walk(parent, link.target.split("/"), passed + 1)
            link.reached, link.hops = place, place.hops + 1
        elif passed + link.hops > _MAX_LINKS:
            raise _TooManyLinksError
        return link.reached

    def _walk(self, start: _Node, parts: Sequence[str], passed: int) -> _Place:
        """Follow a path as the kernel does; ``passed`` links were followed to come here."""
        node, missing, hops = start, 0, 0
        for part in parts:
            if part in ("", "."):
                continue
            if part == "..":
                if missing:
                    missing -= 1
                elif node.parent is None:
                    raise _LeadsOutError
                else:
                    node = node.parent
                continue
            child = None if missing else node.children.get(part)
            if child is None:
                missing += 1
            elif child.kind is Kind.LINK:
                if passed + hops >= _MAX_LINKS:
                    raise _TooManyLinksError
                place = self._resolve(child, passed + hops)
                node, missing, hops = place.node, place.missing, hops + child.hops
            else:
                node = child
        return _Place(node, missing, hops)


def parts_of(name: str) -> list[str]:
    """The components of a member's name, without those that say nothing."""
    return [part for part in name.split("/") if part not in ("", ".")]


def usable(name: str) -> bool:
    """Whether every file system takes it: no control characters, no half surrogates."""
    return not any(unicodedata.category(c) in ("Cc", "Cs") for c in name)


def _name_faults(name: str, parts: Sequence[str], bounds: Bounds) -> Iterator[str]:
    if name.startswith("/"):
        yield "an absolute path"
    if ".." in parts:
        yield "leads out of the package"
    if not parts or not usable(name):
        yield "not a usable name"
    elif too_long(parts, bounds):
        yield (
            f"too long or too deep: at most {bounds.name_bytes} bytes a name, {bounds.path_bytes}"
            f" a path, {bounds.depth} levels"
        )


def too_long(parts: Sequence[str], bounds: Bounds) -> bool:
    """Whether a path is longer or deeper than one may be."""
    lengths = [len(part.encode(errors="surrogatepass")) for part in parts]
    return (
        len(parts) > bounds.depth
        or sum(lengths) + len(lengths) > bounds.path_bytes
        or max(lengths, default=0) > bounds.name_bytes
    )


def _size_faults(entry: Entry, bounds: Bounds) -> Iterator[str]:
    if entry.size < 0 or entry.size > bounds.file_bytes:
        yield f"larger than {bounds.file_bytes} bytes"
    if entry.kind is Kind.OTHER:
        yield "neither a file, a directory nor a link"
    if entry.kind is Kind.LINK:
        target = entry.target
        steps = target.count("/") + 1
        if not target or not usable(target):
            yield "a link without a usable target"
        elif len(target.encode()) > bounds.path_bytes or steps > 2 * bounds.depth:
            yield "a link whose target is too long or too deep"


def _name_of(node: _Node) -> str:
    parts = []
    at: _Node | None = node
    while at is not None and at.name:
        parts.append(at.name)
        at = at.parent
    return repr("/".join(reversed(parts))[:200])
