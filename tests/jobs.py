"""The job half of the platform for tests: real broker, real store, real processes."""

from __future__ import annotations

import itertools
import os
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from services.autospec.main import build as build_autospec
from services.autospec.settings import AutospecSettings
from services.task.main import build as build_task
from services.task.processes import marked
from services.task.runtimes.local import LocalRuntime, sweep
from services.task.settings import TaskSettings
from shared.contracts import (
    JobEvent,
    JobSubmit,
    LogAppended,
    Message,
    RequestRefused,
)
from shared.embedded.patience import Patience
from shared.embedded.state import JobsPlace
from shared.packages import pack
from shared.service import Context, Service
from shared.settings import ServiceSettings
from shared.storage import S3Store
from shared.topology import Principal, subscriptions
from tests.brokers import BrokerUnderTest
from tests.conftest import ObjectStoreUnderTest
from tests.waiting import LIMIT_S

_run = f"{os.getpid()}"
_numbers = itertools.count(1)


class JobPlatform:
    """Task, autospec and a client that remembers what it is told."""

    def __init__(
        self,
        broker: BrokerUnderTest,
        store: ObjectStoreUnderTest,
        directory: Path,
        **settings: Any,
    ) -> None:
        self.broker, self.s3, self.directory = broker, store, directory
        self.store = S3Store(store.url, store.access_key, store.secret_key)
        self.store.ensure_bucket("barograph")
        self.events: list[JobEvent] = []
        self.refusals: list[RequestRefused] = []
        self.lines: list[LogAppended] = []
        # A directory and users that no other stack or test of this machine has.
        self._place = JobsPlace.of(directory)
        self._place.make()
        own = {name.lower(): value for name, value in self._place.settings().items()}
        values: dict[str, Any] = {"capacity_cpu": 64, "capacity_memory": 2**40} | own | settings
        values.setdefault("store_url", f"sqlite:///{directory}/task.db")
        self.settings = TaskSettings(
            broker_url=SecretStr(broker.url("task")),
            member_broker_url=SecretStr(broker.url("member")),
            member_signing_key=SecretStr(broker.signing_key),
            s3_url=store.url,
            s3_access_key=store.access_key,
            s3_secret_key=SecretStr(store.secret_key),
            **values,
        )
        self.client = Service(
            "client",
            ServiceSettings(broker_url=SecretStr(broker.url("client"))),
            handlers=self._listeners(),
        )
        self.autospec = build_autospec(
            AutospecSettings(
                broker_url=SecretStr(broker.url("autospec")),
                store_url=SecretStr(f"sqlite:///{directory}/autospec.db"),
            )
        )

    def start(self) -> None:
        for service in (self.client, self.autospec):
            service.start()
            service.bus.wait_ready()
        self.start_task()
        # Queues are declared while connecting; a publish before that would be unroutable.
        self.until(self._reachable, "the services' queues")

    def start_task(self) -> None:
        self.task = build_task(self.settings)
        self.task.start()
        self.task.bus.wait_ready()

    def stop_task(self) -> None:
        self.task.stop()

    def stop(self) -> None:
        self.stop_task()
        sweep(self.settings.work_dir, grace_s=5)
        self.autospec.stop()
        self.client.stop()
        shutil.rmtree(self._place.directory)

    def restart_task(self) -> None:
        """A new task service on the same records, as after a restart."""
        self.stop_task()
        self.start_task()

    def submit(self, package: str, **fields: Any) -> str:
        """Publish a job; returns its id."""
        job_id = f"job-{_run}-{next(_numbers)}"
        values: dict[str, Any] = {
            "job_id": job_id,
            "name": "test",
            "main": "main.py",
            "package": package,
        }
        values["resources"] = {"cpu": 1, "memory": "1500Mi"}
        self.publish(JobSubmit.model_validate(values | fields))
        return job_id

    def publish(self, message: Message) -> None:
        self.client.publisher.publish([message])

    def package(self, program: str) -> str:
        """Upload a package whose main program is this text."""
        folder = self.directory / f"tiny{next(_numbers)}"
        (folder / "code").mkdir(parents=True)
        (folder / "code" / "main.py").write_text(program)
        return self.package_folder(folder)

    def package_folder(self, folder: Path) -> str:
        archive = self.directory / f"{next(_numbers)}.tar.gz"
        packed = pack(folder, archive)
        name = f"{packed.sha256}.tar.gz"
        self.store.put("barograph", f"packages/{name}", archive)
        return f"barograph:packages:{name}"

    def wait_for(self, job_id: str, kind: str) -> Any:
        """The first event of this kind, e.g. ``job.running``."""

        def found() -> list[JobEvent]:
            return [e for e in self.told(job_id) if kind == e.TYPE]

        self.until(lambda: bool(found()), f"{kind} of {job_id}", job_id)
        return found()[0]

    def wait_end(self, job_id: str) -> Any:
        """The terminal event."""

        def ends() -> list[JobEvent]:
            return [e for e in self.told(job_id) if e.state.terminal and e.TYPE != "job.removed"]

        self.until(lambda: bool(ends()), f"end of {job_id}", job_id)
        return ends()[0]

    def wait_log(self, job_id: str, text: str) -> None:
        """Until a live log event holds ``text``."""
        self.until(lambda: text in self.live(job_id), f"{text!r} in the log", job_id)

    def told(self, job_id: str) -> list[JobEvent]:
        """This job's events in order of their sequence, each once."""
        unique = {e.sequence: e for e in self.events if e.job_id == job_id}
        return [unique[number] for number in sorted(unique)]

    def live(self, job_id: str, member: str = "") -> str:
        """Everything told live of the log."""
        lines = [m for m in self.lines if m.job_id == job_id and member in m.member.name]
        return "".join(m.text for m in sorted(lines, key=lambda m: m.chunk))

    def stored_log(self, job_id: str, member: str = "worker-0") -> str:
        """The log as the object store has it."""
        infos = self.store.list("barograph", f"jobs/{job_id}/logs/{member}/")
        return "".join(self.store.get("barograph", i.key).decode() for i in infos)

    def processes(self, job_id: str, member: str = "worker-0", incarnation: int = 1) -> list[int]:
        """Pids that carry a member's mark."""
        return [pid for pid, _ in marked([f"{job_id}/{member}/{incarnation}"])]

    def launchers(self, job_id: str) -> list[str]:
        """Living members of a job, e.g. ``job/worker-0/1``."""
        seen = LocalRuntime(self.settings.work_dir).observe()
        return [o.key for o in seen if o.job_id == job_id and o.alive]

    def until(self, condition: Callable[[], bool], what: str, job_id: str = "") -> None:
        """Wait for a condition, and tell what was seen when it does not come."""
        patience = Patience(LIMIT_S)
        while not condition():
            if patience.is_over():
                seen = [(e.TYPE, e.reason) for e in self.told(job_id)]
                logs = [
                    f"{path}: {path.read_text()[-1500:]}"
                    for path in self.settings.work_dir.glob(f"{job_id}/*/*/launcher.log")
                ]
                text = f"no {what} in {patience.waited_s:.0f} s; {seen}; "
                raise AssertionError(f"{text}{self.live(job_id)[-2000:]}; {logs}")
            time.sleep(0.05)

    def _reachable(self) -> bool:
        return all(service.bus.ready for service in (self.client, self.autospec))

    def _listeners(self) -> dict[type[Message], Callable[[Any, Context], Iterable[Message]]]:
        def keep(into: list[Any]) -> Callable[[Any, Context], Iterable[Message]]:
            def listen(message: Any, _ctx: Context) -> Iterable[Message]:
                into.append(message)
                return ()

            return listen

        listeners: dict[type[Message], Any] = {
            route.message: keep(self.events if issubclass(route.message, JobEvent) else [])
            for routes in subscriptions(Principal.CLIENT).values()
            for route in routes
        }
        return listeners | {
            RequestRefused: keep(self.refusals),
            LogAppended: keep(self.lines),
        }
