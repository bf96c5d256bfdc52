"""The keys of packages in the object store: each project has its own prefix."""

from __future__ import annotations

from typing import NamedTuple

from shared.contracts import DEFAULT_PROJECT

_ALL = "packages"


class Place(NamedTuple):
    """The object that ``bucket:prefix:name`` names, which is how a job names its package."""

    bucket: str
    prefix: str
    name: str

    @property
    def key(self) -> str:
        """The object's key in its bucket."""
        return f"{self.prefix}/{self.name}"


def place_of(reference: str) -> Place | None:
    """Return the object that a text names, or None where it does not name one."""
    match reference.split(":"):
        case [bucket, prefix, name] if bucket and prefix and name not in ("", ".", ".."):
            return Place(bucket, prefix, name)
    return None


def prefix_of(project: str) -> str:
    """The beginning of the keys of a project's packages."""
    return _ALL if project == DEFAULT_PROJECT else f"{_ALL}/{project}"


def is_package(reference: str, bucket: str, project: str) -> bool:
    """Return whether ``bucket:prefix:name`` is a package of this installation and project.

    Text that does not name an object is none.
    """
    place = place_of(reference)
    return place is not None and place[:2] == (bucket, prefix_of(project))


def key_of(reference: str) -> str:
    """The key of a package in its bucket.

    Raises:
        ValueError: when the text does not name an object.
    """
    place = place_of(reference)
    if place is None:
        msg = f"{reference!r} is not bucket:prefix:name"
        raise ValueError(msg)
    return place.key
