"""The one doorway to SQL: records, inbox and outbox of a service in one transaction."""

from shared.store.collection import Collection
from shared.store.records import Records
from shared.store.store import Queued, Store, StoreUnavailable, Unit

__all__ = ["Collection", "Queued", "Records", "Store", "StoreUnavailable", "Unit"]
