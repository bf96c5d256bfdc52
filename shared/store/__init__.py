"""Access to SQL: records, inbox and outbox of a service in one transaction."""

from shared.store.collection import Collection
from shared.store.errors import NotLeader, StoreInUse, StoreUnavailable
from shared.store.leader import LeaderRow, Lease
from shared.store.opening import opened
from shared.store.records import Records
from shared.store.store import Store
from shared.store.turns import give_way
from shared.store.unit import Queued, Unit

__all__ = [
    "Collection",
    "LeaderRow",
    "Lease",
    "NotLeader",
    "Queued",
    "Records",
    "Store",
    "StoreInUse",
    "StoreUnavailable",
    "Unit",
    "give_way",
    "opened",
]
