"""Checks a folder or archive by all rules of unpacking, before any upload."""

from __future__ import annotations

from pathlib import Path

from shared.packages.bounds import Bounds, PackageError, PackageRefused
from shared.packages.folder import Folder
from shared.packages.inventory import Inventory
from shared.packages.layout import layout_faults
from shared.packages.unpack import inspect


def check(path: Path, main: str | None = None, bounds: Bounds | None = None) -> tuple[str, ...]:
    """Every reason why ``path``, a folder or an archive, is no package; empty when it is one.

    Only how well a folder compresses is not known before it is packed; ``pack`` judges that.

    Args:
        path: a folder with ``code`` and maybe ``data``, or a tar.gz of such a folder.
        main: the main program, relative to the code folder; None where none is named.
        bounds: how much a package may hold.

    Raises:
        OSError: when the archive cannot be read.
    """
    limits = bounds or Bounds()
    try:
        if path.is_dir():
            inventory = Inventory(limits)
            Folder(path, limits).add_to(inventory)
            inventory.reached(0)
        else:
            inventory = inspect(path, limits)
    except PackageRefused as refused:
        return tuple(refused.faults)
    except PackageError as error:
        return (str(error),)
    return tuple(layout_faults(inventory, main))
