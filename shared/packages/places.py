"""Where packages lie in the object store: each project's below a prefix of its own."""

from __future__ import annotations

from shared.contracts import DEFAULT_PROJECT

_ALL = "packages"


def prefix_of(project: str) -> str:
    """The beginning of the keys of a project's packages."""
    return _ALL if project == DEFAULT_PROJECT else f"{_ALL}/{project}"


def is_package(reference: str, bucket: str, project: str) -> bool:
    """Whether ``bucket:prefix:name`` means a package of this installation and of this project."""
    found, prefix, name = reference.split(":", 2)
    return (found, prefix) == (bucket, prefix_of(project)) and name not in (".", "..")
