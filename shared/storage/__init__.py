"""The one doorway to object stores: nothing outside this package imports boto3."""

from shared.storage.errors import (
    AccessDenied,
    AlreadyExists,
    Incomplete,
    NotFound,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from shared.storage.memory import MemoryStore
from shared.storage.presigned import PresignedAccess, PresignedStore
from shared.storage.s3 import PART_BYTES, S3Store
from shared.storage.store import (
    MemberStore,
    ObjectInfo,
    ObjectStore,
    PresignedPrefix,
    PresignedUpload,
    Progress,
)

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
]
