"""The service runner: receives, calls handlers, publishes with confirms, then acks."""

from shared.service.context import Context, Handler, PartitionWorker, Periodic
from shared.service.service import Service
from shared.service.unit import ServiceUnit

__all__ = ["Context", "Handler", "PartitionWorker", "Periodic", "Service", "ServiceUnit"]
