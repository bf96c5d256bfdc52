"""Job packages: packed the same way every time, unpacked without trusting them.

``check``, ``pack`` and ``unpack`` apply one set of rules, that of ``inventory``: what ``pack``
makes, ``unpack`` takes, and what ``unpack`` would refuse, ``check`` names.
"""

from shared.packages.bounds import Bounds, PackageError, PackageRefused
from shared.packages.check import check
from shared.packages.inventory import Inventory, usable
from shared.packages.layout import code_folder, layout_faults
from shared.packages.pack import Packed, pack
from shared.packages.syntax import syntax_problem
from shared.packages.unpack import inspect, unpack

__all__ = [
    "Bounds",
    "Inventory",
    "PackageError",
    "PackageRefused",
    "Packed",
    "check",
    "code_folder",
    "inspect",
    "layout_faults",
    "pack",
    "syntax_problem",
    "unpack",
    "usable",
]
