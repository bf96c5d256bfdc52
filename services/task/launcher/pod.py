"""A member in a pod: an init container fetches, a sidecar runs the member, a third the program.

    python3 -m services.task.launcher fetch     the init container
    python3 -m services.task.launcher pod       the sidecar

Only these two containers see the job's Secret. Kubernetes ends a sidecar after the program's
container, so whatever ended that, there is time to store what it left.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog
from pydantic import ValidationError

from services.task.launcher import checkpoints, package, pod_program
from services.task.launcher.environment import Places
from services.task.launcher.exchange import Exchange, RemoteProgram, Tail
from services.task.launcher.ground import Order, RunningProgram
from services.task.launcher.main import Launcher
from services.task.launcher.program import protect_this_process
from services.task.records import primary
from services.task.runtimes.kubernetes.names import member_at
from services.task.spec import (
    LAUNCHER_FILE,
    SPEC_FILE,
    Credentials,
    MemberSpec,
    PodPlaces,
    PodSpec,
)
from shared import trees, trust
from shared.contracts import PodExited
from shared.observe import configure_logging
from shared.signals import on_signals
from shared.storage import MemberStore, PresignedAccess, PresignedStore, StorageUnavailable

log = structlog.get_logger(__name__)

_POLL_S = 0.1
_SAVE_S = 20.0
_LINGER_S = 3600.0
"""The time for which a failed member keeps its pod while nobody decides about the job."""
_FOUND_FILE = "package.json"
_TERMINATED = 143
_STABLE_PORT = 2222
"""TensorFlow's customary port, for members whose address is to outlive their pod."""


def read_spec() -> PodSpec:
    """The job's Secret as it is now; it is renewed before its access expires."""
    return PodSpec.model_validate_json((PodPlaces.SPEC / SPEC_FILE).read_bytes())


def access() -> PresignedAccess:
    """The access to the object store that the job's Secret gives now.

    Raises:
        StorageUnavailable: it cannot be read, for the moment.
    """
    try:
        return read_spec().access
    except (OSError, ValidationError) as error:
        reason = f"the job's Secret cannot be read: {type(error).__name__}"
        raise StorageUnavailable(reason) from error


def member_spec(spec: PodSpec) -> MemberSpec:
    """The member that this pod is, by its Job's index and the failures counted before it."""
    environment = os.environ
    failures = [
        environment.get(f"BAROGRAPH_{name}") or "0" for name in ("BASE", "FAILED", "IGNORED")
    ]
    member = member_at(
        environment["BAROGRAPH_ROLES"],
        environment["BAROGRAPH_GROUP"],
        int(environment["BAROGRAPH_INDEX"]),
        1 + sum(map(int, failures)),
    )
    if member is None:
        raise SystemExit("this pod's annotations name no member of its job")
    return MemberSpec(
        job=spec.job,
        member=member,
        primary=member.name == primary(spec.job),
        directory=str(PodPlaces.PRIVATE),
        checkpoints=str(PodPlaces.CHECKPOINTS),
        host=environment["BAROGRAPH_HOST"],
        # Its pod's own, so nobody else has it.
        port=_STABLE_PORT if spec.job.elastic else 0,
        pod=environment["BAROGRAPH_POD"],
        node=environment["BAROGRAPH_NODE"],
        program_grace_s=spec.program_grace_s,
        credentials=Credentials(broker_url=spec.broker_url, bucket=spec.bucket),
    )


def trust_ours() -> None:
    """Trust the installation's own authorities, where it has some."""
    file = os.environ.get(trust.VARIABLE)
    if file:
        trust.trust(Path(file))


def fetch() -> int:
    """Everything the program needs, put where it will find it; a failure is left to be reported."""
    configure_logging()
    trust_ours()
    spec = member_spec(read_spec())
    store = PresignedStore(access)
    shutil.copyfile(Path(pod_program.__file__), PodPlaces.EXCHANGE / "program.py")
    root = PodPlaces.WORK / "package"
    with suppress(OSError):
        trees.delete(root)  # of an earlier run of this container
    try:
        found = package.obtain(store, spec, PodPlaces.WORK)
        checkpoints.restore(store, spec, PodPlaces.CHECKPOINTS)
        result: dict[str, object] = {
            "code": str(found.code),
            "data": str(found.data),
            "main": str(found.main),
        }
    except package.Unusable as unusable:
        result = {"fault": unusable.reason, "infrastructure": unusable.infrastructure}
    (PodPlaces.PRIVATE / _FOUND_FILE).write_text(json.dumps(result))
    return 0


def run() -> int:
    """The sidecar's life."""
    protect_this_process()
    configure_logging()
    trust_ours()
    ended = threading.Event()
    exchange = Exchange(PodPlaces.EXCHANGE)
    if (PodPlaces.PRIVATE / LAUNCHER_FILE).exists():
        # This container was restarted: what the first one knew is lost, the member starts again.
        on_signals(ended.set, (signal.SIGTERM,))
        exchange.tell("leave.json", {"exit_code": _TERMINATED})
        ended.wait()
        return 0
    spec = member_spec(read_spec())
    store = PresignedStore(access)
    ground = Pod(spec, store, exchange)
    launcher = Launcher(spec, store, ground)
    ground.watch(launcher.terminate)
    launcher.run()
    # Kubernetes would start us again while the program's container is not gone.
    ground.program_gone.wait()
    return 0


class Pod:
    """The containers of one pod as a launcher's ground."""

    def __init__(self, spec: MemberSpec, store: MemberStore, exchange: Exchange) -> None:
        self._spec, self._store, self._exchange = spec, store, exchange
        self._tail = Tail(exchange)
        self._runs = 0
        self._saver = checkpoints.Saver(store, spec, PodPlaces.CHECKPOINTS)
        self.notes: list[str] = []
        self.sees_all = False
        self.owner: int | None = None
        self.program_gone = threading.Event()
        self.asked_to_end = threading.Event()

    def watch(self, terminate: Callable[[], None]) -> None:
        """Have ``terminate`` called when this pod is to end."""

        def ended() -> None:
            # Kubernetes ends us only after the program's container.
            self.program_gone.set()
            if not self.asked_to_end.is_set():
                self.asked_to_end.set()
                terminate()

        def look() -> None:
            while not self.asked_to_end.wait(_POLL_S):
                if self._exchange.heard("terminated") is not None:
                    self.asked_to_end.set()
                    terminate()

        on_signals(ended, (signal.SIGTERM,))
        threading.Thread(target=look, name="termination", daemon=True).start()

    def broker_url(self) -> str:
        """The URL in the job's Secret, which the kubelet updates."""
        try:
            return read_spec().broker_url
        except (OSError, ValidationError) as error:
            log.warning("spec_unreadable", error=type(error).__name__)
            return self._spec.credentials.broker_url

    def record(self, _port: int) -> None:
        """A second start of this container must not become a second launcher."""
        (PodPlaces.PRIVATE / LAUNCHER_FILE).write_text("{}")

    def prepare(self) -> tuple[Places, Path]:
        """The report of the init container.

        Raises:
            Unusable: with its reason.
        """
        found = json.loads((PodPlaces.PRIVATE / _FOUND_FILE).read_text())
        if "fault" in found:
            raise package.Unusable(found["fault"], found["infrastructure"])
        code, data = Path(found["code"]), Path(found["data"])
        places = Places(code, data, PodPlaces.WORK, PodPlaces.CHECKPOINTS)
        places.make()
        if self._spec.primary:
            threading.Thread(target=self._save_often, name="checkpoints", daemon=True).start()
        return places, Path(found["main"])

    def start(
        self, order: Order, output: int, ended: Callable[[RunningProgram], None]
    ) -> RunningProgram:
        """Have the program's container run it."""
        self._runs += 1
        if self._runs > 1 and not self._spec.primary:
            # The cluster begins again from what its primary member has saved.
            checkpoints.restore(self._store, self._spec, PodPlaces.CHECKPOINTS)
        lost, tail = self.program_gone, self._tail

        def drained() -> None:
            tail.carry(output)

        return RemoteProgram(self._exchange, self._runs, order, lost, drained, ended)

    def save(self, patience_s: float) -> None:
        """Store the newest checkpoints."""
        if self._spec.primary:
            self._saver.save(patience_s)

    def close(self, end: PodExited | None) -> None:
        """Let the program's container go: at once, or once the job's fate is decided.

        Kubernetes starts a failed member again. Whether it should is the task service's
        decision; it deletes this pod, or the whole job.
        """
        if end is not None and end.exit_code != 0 and not self.asked_to_end.is_set():
            self.asked_to_end.wait(_LINGER_S)
        code = _TERMINATED if end is None else end.exit_code
        self._exchange.tell("leave.json", {"exit_code": code if code >= 0 else 128 - code})

    def _save_often(self) -> None:
        while not self.asked_to_end.is_set():
            time.sleep(_SAVE_S)
            self._saver.try_save()
