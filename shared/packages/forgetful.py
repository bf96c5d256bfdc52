"""A tar reader that keeps no members, because a package may have very many."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import SupportsRead


class ForgetfulTar(tarfile.TarFile):
    """``tarfile.TarFile`` for one pass over an archive."""

    members: list[tarfile.TarInfo]

    def next(self) -> tarfile.TarInfo | None:
        member = super().next()
        self.members = []
        return member

    def addfile(self, tarinfo: tarfile.TarInfo, fileobj: SupportsRead[bytes] | None = None) -> None:
        super().addfile(tarinfo, fileobj)
        self.members = []
