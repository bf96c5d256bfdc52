"""Access to Kubernetes; only this package and the runtimes import the library."""

from shared.cluster.cluster import (
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Cluster,
    Object,
    path_of,
)
from shared.cluster.errors import (
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    Gone,
    Invalid,
    NotFound,
)
from shared.cluster.mirror import Mirror
from shared.cluster.mirrors import Mirrors

__all__ = [
    "MERGE_PATCH",
    "STRATEGIC_PATCH",
    "Cluster",
    "ClusterError",
    "ClusterUnavailable",
    "Conflict",
    "Forbidden",
    "Gone",
    "Invalid",
    "Mirror",
    "Mirrors",
    "NotFound",
    "Object",
    "path_of",
]
