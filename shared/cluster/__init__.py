"""The one doorway to Kubernetes: nothing outside it and the runtimes imports the library."""

from shared.cluster.cluster import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    Cluster,
    Object,
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

__all__ = [
    "JSON_PATCH",
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
    "NotFound",
    "Object",
]
