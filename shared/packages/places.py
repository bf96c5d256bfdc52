"""The keys of packages in the object store: each project has its own prefix."""

from __future__ import annotations

from shared.contracts import DEFAULT_PROJECT

_ALL = "packages"


def prefix_of(project: str) -> str:
    """The beginning of the keys of a project's packages."""
    return _ALL if project == DEFAULT_PROJECT else f"{_ALL}/{project}"


def is_package(reference: str, bucket: str, project: str) -> bool:
    """Return whether ``bucket:prefix:name`` is a package of this installation and project.

    Text that does not name an object is none.
    """
    *place, name = reference.split(":")
    return place == [bucket, prefix_of(project)] and name not in ("", ".", "..")


def key_of(reference: str) -> str:
    """The key of a package in its bucket."""
    return "/".join(reference.split(":")[1:])
