"""Shared by all services: contracts, topology, messaging, the service runner, the store.

Nothing in here knows a service; services import this package and never each other.
"""
