"""The layout of a package: where its program must be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from shared.packages.inventory import Inventory
from shared.packages.tree import Kind

_LEFT_BY_MACOS = "__MACOSX"
"""Beside what somebody packed: its files' attributes, under the same names."""
_SHOWN, _MAX_SHOWN = 80, 5
"""The number of names, and of characters per name, in a fault's text."""


def code_folder(inventory: Inventory) -> str | None:
    """The folder with the program: ``code``, or that of the one folder that has one."""
    found = _code_folders(inventory)
    return found[0] if len(found) == 1 else None


def layout_faults(inventory: Inventory, main: str | None) -> Iterator[str]:
    """The faults that keep a package from being run; ``main`` is relative to the code folder."""
    code = code_folder(inventory)
    if code is None:
        yield _no_code_folder(inventory)
    elif main is not None and inventory.kind(f"{code}/{main}") is not Kind.FILE:
        programs = [name for name in inventory.names_in(code) if name.endswith(".py")]
        there = f"; there is {_listed(sorted(programs))}" if programs else ""
        yield f"the package's code folder holds no main program {main}{there}"


def _code_folders(inventory: Inventory) -> list[str]:
    if inventory.kind("code") is Kind.DIRECTORY:
        return ["code"]
    names = (f"{name}/code" for name in inventory.top if name != _LEFT_BY_MACOS)
    return [name for name in names if inventory.kind(name) is Kind.DIRECTORY]


def _no_code_folder(inventory: Inventory) -> str:
    several = _code_folders(inventory)
    if several:
        return f"the package holds several code folders: {_listed(several)}; submit one of them"
    if any("\\" in name for name in inventory.top):
        return "the package's names have backslashes for slashes: pack it with `tshell pack`"
    return (
        f"the package holds no <name>/code folder, but {_listed(inventory.top)}: put the programs "
        "into a folder 'code' of the folder that you submit"
    )


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:_SHOWN]) for name in names[:_MAX_SHOWN])
    return f"{shown} and more" if len(names) > _MAX_SHOWN else shown
