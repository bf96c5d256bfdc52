"""Files of a replay that lie in an object store: ``s3://BUCKET/KEY``, or all below ``…/``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from replay.sources import UnreadableError

if TYPE_CHECKING:
    from shared.storage import S3Store

_SCHEME = "s3://"
_LONGEST_NAME = 50
"""Characters, of which each may take four bytes."""


def fetched(places: Sequence[str], folder: Path) -> list[Path]:
    """The files as they lie on this machine; those of an object store are put into ``folder``.

    Raises:
        UnreadableError: an object is missing or cannot be fetched.
    """
    found = []
    for place in places:
        if not place.startswith(_SCHEME):
            found.append(Path(place))
            continue
        bucket, key = _split(place)
        found += [_fetch(bucket, each, folder) for each in _keys(bucket, key)]
    return found


def stored(path: Path, place: str) -> None:
    """Put a file to its place.

    Raises:
        UnreadableError: the object store does not take it.
    """
    from shared.storage import StorageError

    bucket, key = _split(place)
    try:
        _store().put(bucket, key, path)
    except StorageError as error:
        raise UnreadableError(f"{place}: {error}") from None


def is_stored(place: str) -> bool:
    """Return whether a place is in an object store."""
    return place.startswith(_SCHEME)


def _keys(bucket: str, key: str) -> list[str]:
    from shared.storage import StorageError

    if not key.endswith("/"):
        return [key]
    try:
        keys = sorted(each.key for each in _store().list(bucket, key))
    except StorageError as error:
        raise UnreadableError(f"{_SCHEME}{bucket}/{key}: {error}") from None
    if not keys:
        raise UnreadableError(f"{_SCHEME}{bucket}/{key}: there is nothing")
    return keys


def _fetch(bucket: str, key: str, folder: Path) -> Path:
    from shared.storage import StorageError

    # A key may be longer than a file's name; its end has the suffix that tells the kind of file.
    path = folder / f"{len(list(folder.iterdir())):06}-{Path(key).name[-_LONGEST_NAME:]}"
    try:
        _store().fetch(bucket, key, path)
    except StorageError as error:
        raise UnreadableError(f"{_SCHEME}{bucket}/{key}: {error}") from None
    return path


def _split(place: str) -> tuple[str, str]:
    bucket, _, key = place.removeprefix(_SCHEME).partition("/")
    if not (bucket and key):
        raise UnreadableError(f"{place}: an object's place is s3://BUCKET/KEY")
    return bucket, key


@cache
def _store() -> S3Store:
    from shared.storage import S3Store

    url, *keys = (
        os.environ.get(f"BAROGRAPH_S3_{name}", "") for name in ("URL", "ACCESS_KEY", "SECRET_KEY")
    )
    if not url:
        raise UnreadableError("BAROGRAPH_S3_URL, _ACCESS_KEY and _SECRET_KEY name the object store")
    return S3Store(url, *keys)
