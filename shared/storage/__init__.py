"""Access to object stores; only this package imports boto3.

What needs boto3 or urllib3 is imported when it is first asked for: services whose snapshots are
files start without them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from shared.storage.errors import (
    AccessDenied,
    AlreadyExists,
    Incomplete,
    NotFound,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from shared.storage.keys import is_storable
from shared.storage.memory import MemoryStore
from shared.storage.store import (
    MemberStore,
    ObjectInfo,
    ObjectStore,
    PresignedPrefix,
    PresignedUpload,
    Progress,
)

if TYPE_CHECKING:
    from shared.storage.presigned import PresignedAccess, PresignedStore
    from shared.storage.s3 import PART_BYTES, S3Store

_IMPORTED_ON_USE = {
    "PART_BYTES": "shared.storage.s3",
    "PresignedAccess": "shared.storage.presigned",
    "PresignedStore": "shared.storage.presigned",
    "S3Store": "shared.storage.s3",
}

__all__ = [
    "PART_BYTES",
    "AccessDenied",
    "AlreadyExists",
    "Incomplete",
    "MemberStore",
    "MemoryStore",
    "NotFound",
    "ObjectInfo",
    "ObjectStore",
    "PresignedAccess",
    "PresignedPrefix",
    "PresignedStore",
    "PresignedUpload",
    "Progress",
    "S3Store",
    "StorageError",
    "StorageUnavailable",
    "TooLarge",
    "is_storable",
]


def __getattr__(name: str) -> Any:
    if name not in _IMPORTED_ON_USE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_IMPORTED_ON_USE[name]), name)
