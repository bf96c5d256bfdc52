"""The rules of a package, applied member by member.

Packing, checking and unpacking all add their members to an ``Inventory``, so there is one set of
rules. Links are resolved in a tree of the members (``tree``) once every member is known.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from shared.packages.bounds import MAX_FAULTS, Bounds, PackageRefused
from shared.packages.tree import (
    Kind,
    LeadsOutError,
    Node,
    TooManyLinksError,
    name_of,
    parts_of,
    resolve,
    walk,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A member; ``size`` in bytes once it is written, ``target`` of a link or a copy."""

    name: str
    kind: Kind
    size: int = 0
    target: str = ""


class Inventory:
    """All members of one package.

    Args:
        bounds: how much the package may hold.
        packed: its size in the store; None while it is being made.
    """

    def __init__(self, bounds: Bounds, packed: int | None = None) -> None:
        self._bounds, self._packed = bounds, packed
        self._root = Node(None, "", Kind.DIRECTORY)
        self._links: list[Node] = []
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
                resolve(link)
            except LeadsOutError:
                self.faults.append(f"{name_of(link)}: a link that leads out of the package")
            except TooManyLinksError:
                self.faults.append(f"{name_of(link)}: a link through too many links")
            self._stop_early()
        if not self._root.children and not self.faults:
            self.faults.append("empty")
        if self.faults:
            raise PackageRefused(self.faults)

    def leads_to_member(self, name: str) -> bool:
        """Return whether the link of that name ends at something in the package."""
        try:
            return walk(self._root, parts_of(name)).missing == 0
        except (LeadsOutError, TooManyLinksError):
            return False

    @property
    def top(self) -> tuple[str, ...]:
        """The names at the top level of the package."""
        return tuple(self._root.children)

    def names_in(self, path: str) -> tuple[str, ...]:
        """The names in a folder of the package."""
        try:
            place = walk(self._root, path.split("/"))
        except (LeadsOutError, TooManyLinksError):
            return ()
        return () if place.missing else tuple(place.node.children)

    def kind(self, path: str) -> Kind | None:
        """The member to which a path leads; None when that is nothing in the package."""
        try:
            place = walk(self._root, path.split("/"))
        except (LeadsOutError, TooManyLinksError):
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
                faults.append("is below a link or a file")
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
        """Add a hard link as a copy of its target: a file or a symbolic link."""
        node: Node | None = self._root
        for part in parts_of(entry.target):
            node = None if node is None else node.children.get(part)
        if node is None or node.kind not in (Kind.FILE, Kind.LINK):
            return None
        if node.kind is Kind.LINK:
            return replace(entry, kind=Kind.LINK, size=0, target=node.target)
        return replace(entry, size=node.size, target="/".join(parts_of(entry.target)))

    def _new(self, parent: Node, name: str, kind: Kind) -> Node:
        self._nodes += 1
        if self._nodes > self._bounds.members:
            raise PackageRefused([*self.faults, f"more than {self._bounds.members} members"])
        node = parent.children[name] = Node(parent, name, kind)
        return node


def usable(name: str) -> bool:
    """Return whether every file system takes it: no control characters, no half surrogates."""
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
    """Return whether a path is longer or deeper than one may be."""
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
