"""The ground of every service: contracts, topology, messaging, the runner, the store.

Nothing in here knows a service; services import this package and never each other.
"""
