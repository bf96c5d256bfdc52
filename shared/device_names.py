"""Names of Linux' devices that say what they are, for the agent and for exporters' series."""

from __future__ import annotations

NO_DISK = r"(loop|ram|zram|fd|sr)\d*"
"""Block devices that are no disks."""
LAYERED = r"dm-\d+|md\d+|drbd\d+|bcache\d+"
"""Block devices on top of disks, which are busy with the same requests once more."""
VIRTUAL_INTERFACE = r"(br-|cali|cni|docker|flannel|tap|tun|veth|virbr|vnet|wg).*"
"""Interfaces without a speed of their own; many report 10 Mbit/s."""
