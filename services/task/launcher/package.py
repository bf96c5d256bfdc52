"""Fetches, verifies and safely unpacks the package."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from services.task.launcher import patience
from services.task.spec import MemberSpec
from shared.packages import PackageError, code_folder, layout_faults, unpack
from shared.packages.places import place_of
from shared.storage import AccessDenied, MemberStore, NotFound, StorageError


@dataclass
class Unusable(Exception):
    """The program cannot be started; says why, and whether the platform is at fault."""

    reason: str
    infrastructure: bool = False


@dataclass(frozen=True)
class Package:
    """The paths of the code, the data and the main program."""

    code: Path
    data: Path
    main: Path


def obtain(store: MemberStore, spec: MemberSpec, directory: Path) -> Package:
    """Fetch the package and unpack it below ``directory``, the program's.

    The archive itself is in the launcher's own directory, and no longer than needed: what was
    fetched by mistake or malice is not the program's to read.

    Raises:
        Unusable: with the reason.
    """
    root = directory / "package"
    archive = Path(spec.directory) / "package.tar.gz"
    try:
        _fetch(store, spec, archive)
        _verify(archive, spec.job.package_sha256)
        inventory = unpack(archive, root)
    except PackageError as error:
        raise Unusable(f"the package was refused: {error}") from error
    finally:
        archive.unlink(missing_ok=True)
    faults = "; ".join(layout_faults(inventory, spec.job.main))
    code = code_folder(inventory)
    if faults or code is None:
        raise Unusable(faults)
    base = (root / code).parent
    return Package(code=root / code, data=base / "data", main=root / code / spec.job.main)


def _fetch(store: MemberStore, spec: MemberSpec, archive: Path) -> None:
    place = place_of(spec.job.package)
    if place is None:
        raise Unusable(f"{spec.job.package} names no package; it is not bucket:prefix:name")
    bucket, key = place.bucket, place.key
    try:
        patience.fetch(store, bucket, key, archive)
    except NotFound as error:
        raise Unusable(f"there is no package {bucket}:{key} in the object store") from error
    except AccessDenied as error:
        raise Unusable(f"the object store refuses {bucket}:{key}: {error}") from error
    except StorageError as error:
        reason = f"the package could not be fetched: {error}"
        raise Unusable(reason, infrastructure=True) from error


def _verify(archive: Path, expected: str | None) -> None:
    with archive.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if expected is not None and found != expected:
        raise Unusable(f"the package has the digest {found}, the job names {expected}")
