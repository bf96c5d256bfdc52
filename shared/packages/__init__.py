"""Job packages: packed the same way every time, unpacked without trusting them."""

from shared.packages.pack import Packed, pack
from shared.packages.unpack import Bounds, PackageError, PackageRefused, unpack

__all__ = ["Bounds", "PackageError", "PackageRefused", "Packed", "pack", "unpack"]
