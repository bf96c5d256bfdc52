"""The client: jobs of the client service, and alerts of the healer."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

from pydantic import TypeAdapter

from shared.client import addresses, packages
from shared.client.answers import Alert, Job, LogPiece, Preview, Result, Silence
from shared.client.connection import Connection
from shared.client.errors import BadInputError, NotEndedError, RefusedError
from shared.contracts import Fault, JobPlanned

PLAN_S = 30
"""How long the installation's answer to a plan is waited for."""
_PAGE = 500
_MAX_ALERTS = 5000
_LOOK_S = 1.0
_ALERTS = TypeAdapter(list[Alert])
_SILENCES = TypeAdapter(list[Silence])


class Client:
    """Barograph's two APIs, each found and connected to when it is first used.

    Args:
        url: the client service's address; by default BAROGRAPH_URL, or this machine's stack.
        token: its token; by default BAROGRAPH_TOKEN, or the stack's own.
        healer_url: the healer's address; by default BAROGRAPH_HEALER_URL, or the stack's.
        healer_token: its token; by default BAROGRAPH_HEALER_TOKEN, or the stack's own.
        state: where the stack of this machine keeps its files, if not where it does by default.

    Every method raises ``ClientError``, one of its kinds, with every fault that was named.
    """

    def __init__(
        self,
        url: str = "",
        token: str = "",
        *,
        healer_url: str = "",
        healer_token: str = "",
        state: Path | None = None,
    ) -> None:
        self._client, self._healer = (url, token), (healer_url, healer_token)
        self._state = state

    @cached_property
    def jobs_api(self) -> Connection:
        """The client service's API, for what has no method here."""
        return Connection(addresses.of_jobs(*self._client, self._state))

    @cached_property
    def alerts_api(self) -> Connection:
        """The healer's API, for what has no method here."""
        return Connection(addresses.of_alerts(*self._healer, self._state))

    def close(self) -> None:
        """Give up the connections."""
        for name in ("jobs_api", "alerts_api"):
            if (connection := self.__dict__.pop(name, None)) is not None:
                connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    # Jobs.

    def submit(self, package: Path | str = "", **fields: Any) -> Job:
        """Hand in a job, once the installation has said that it can run.

        Args:
            package: a folder with ``code/`` and perhaps ``data/``, or a packed one; '' where
                ``fields`` name a package that was uploaded before.
            fields: those of ``job.submit``, such as ``main``, ``type``, ``workers``, ``resources``.
                The same ``job_id`` with the same fields again is the same job.
        """
        body: dict[str, Any] = dict(fields)
        if not package:
            self._refuse_faults(self.plan(**body))
            return self._handed_in(body)
        folder = Path(package)
        body.setdefault("name", folder.resolve().name)
        with packages.archive_of(folder) as (archive, digest):
            body["package_sha256"] = digest
            self._refuse_faults(self.plan(**body))
            project = str(body.get("project", ""))
            body["package"] = self.upload_archive(archive, digest, project)
        return self._handed_in(body)

    def plan(self, **fields: Any) -> JobPlanned | None:
        """The plan of a job of these fields; None when nobody answers in time."""
        asked = self.jobs_api.call("POST", "/plans", json=fields)
        path = f"/plans/{asked['request_id']}"
        wait = {"wait_s": PLAN_S}
        answer = self.jobs_api.call("GET", path, params=wait, timeout=PLAN_S + 10)["answer"]
        return None if answer is None else JobPlanned.model_validate(answer)

    def upload(self, package: Path | str, project: str = "") -> str:
        """Upload a folder or a packed one for jobs of a project; returns bucket:key:file."""
        with packages.archive_of(Path(package)) as (archive, digest):
            return self.upload_archive(archive, digest, project)

    def upload_archive(
        self,
        archive: Path,
        sha256: str,
        project: str = "",
        progress: Callable[[int], object] = lambda sent: None,  # noqa: ARG005
    ) -> str:
        """Upload a packed folder of this digest, or what is missing of it after a break."""
        return packages.upload(self.jobs_api, archive, sha256, project, progress)

    def job(self, job_id: str) -> Job:
        """One job as it stands now."""
        return Job.model_validate(self.jobs_api.call("GET", f"/jobs/{_part(job_id)}"))

    def jobs(self, states: Sequence[str] = (), project: str = "") -> Iterator[Job]:
        """Every job in these states and this project, or in any; the newest first."""
        offset: int | None = 0
        while offset is not None:
            asked: dict[str, Any] = {"limit": _PAGE, "offset": offset, "state": list(states)}
            asked["project"] = project
            page = self.jobs_api.call("GET", "/jobs", params=asked)
            yield from map(Job.model_validate, page["jobs"])
            offset = page["next_offset"]

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Wait until a job has ended, well or not.

        Raises:
            NotEndedError: when it has not within ``timeout_s``.
        """
        began = time.monotonic()
        while not (job := self.job(job_id)).ended:
            if timeout_s is not None and time.monotonic() - began > timeout_s:
                raise NotEndedError(f"{job_id} is {job.state} after {timeout_s:g} s")
            time.sleep(_LOOK_S)
        return job

    def logs(self, job_id: str, member: str = "") -> Iterator[LogPiece]:
        """The stored part of a job's output, one member and incarnation after the other."""
        path = f"/jobs/{_part(job_id)}/logs"
        wanted = {"member": member} if member else {}
        for part in self.jobs_api.call("GET", f"{path}/parts", params=wanted):
            whose = {"member": part["member"], "incarnation": part["incarnation"]}
            for text in self.jobs_api.text(path, params=whose):
                yield LogPiece.model_validate(whose | {"text": text})

    def follow(self, job_id: str) -> Iterator[LogPiece]:
        """A job's output from its beginning, live until it has ended."""
        for event, data in self.jobs_api.events(f"/jobs/{_part(job_id)}/logs/follow"):
            if event == "log":
                yield LogPiece.model_validate(data)

    def results(self, job_id: str, below: str = "") -> Iterator[Result]:
        """The files a job left in its model and output directories, perhaps below one folder."""
        wanted: dict[str, Any] = {"below": below}
        while True:
            path = f"/jobs/{_part(job_id)}/results"
            page = self.jobs_api.call("GET", path, params=wanted)
            yield from map(Result.model_validate, page["files"])
            if page["next_after"] is None:
                return
            wanted["after"] = page["next_after"]

    def get(self, job_id: str, folder: Path | str, below: str = "") -> Iterator[Path]:
        """Fetch a job's results into ``folder``; gives each file's path once it is there, whole."""
        yield from self.fetch(job_id, self.results(job_id, below), folder)

    def fetch(self, job_id: str, files: Iterable[Result], folder: Path | str) -> Iterator[Path]:
        """Fetch these of a job's results, as ``get``."""
        job = self.job(job_id)
        own = f"jobs/{job.job_id}/"
        digests = {each.key.removeprefix(own): each.sha256 for each in job.artifacts}
        for file in files:
            target = packages.place(Path(folder), file.path)
            digest = digests.get(file.path)
            packages.download(self.jobs_api, job.job_id, file.path, target, file.size, digest)
            yield target

    def cancel(self, job_id: str, reason: str = "") -> None:
        """Stop a job; what it has done so far is stored."""
        self.jobs_api.call("POST", f"/jobs/{_part(job_id)}/cancel", json={"reason": reason})

    def remove(self, job_id: str) -> None:
        """Forget an ended job: its record, logs and results."""
        self.jobs_api.call("DELETE", f"/jobs/{_part(job_id)}")

    # Alerts.

    def alerts(self) -> list[Alert]:
        """Every open alert, predicted ones too; the oldest first."""
        return _ALERTS.validate_python(open_alerts(self.alerts_api))

    def acknowledge(self, incident_id: str, by: str = "") -> None:
        """Say who takes care of an alert; by default whoever runs this program."""
        path = f"/alerts/{_part(incident_id)}/acknowledge"
        self.alerts_api.call("POST", path, json={"by": by or getpass.getuser()})

    def silences(self) -> list[Silence]:
        """All silences and maintenance windows."""
        return _SILENCES.validate_python(self.alerts_api.call("GET", "/silences"))

    def silence(
        self, matchers: Sequence[str], lasting: timedelta, reason: str, owner: str = ""
    ) -> Silence:
        """Mute the alerts that all matchers fit, such as ``host="db7"``."""
        body = silence_body(matchers, datetime.now(UTC) + lasting, reason, owner)
        return Silence.model_validate(self.alerts_api.call("POST", "/silences", json=body))

    def preview(self, matchers: Sequence[str], lasting: timedelta) -> Preview:
        """The alerts that such a silence would mute; nothing is muted."""
        body = silence_body(matchers, datetime.now(UTC) + lasting, "preview")
        answer = self.alerts_api.call("POST", "/silences/preview", json=body)
        return Preview.model_validate(answer)

    def end_silence(self, silence_id: str) -> None:
        """End a silence now; people are notified of what it held back and still holds."""
        self.alerts_api.call("DELETE", f"/silences/{_part(silence_id)}")

    def _handed_in(self, body: dict[str, Any]) -> Job:
        return self.job(self.jobs_api.call("POST", "/jobs", json=body)["job_id"])

    @staticmethod
    def _refuse_faults(answer: JobPlanned | None) -> None:
        if answer is not None and answer.faults:
            faults: tuple[Fault, ...] = answer.faults
            raise RefusedError("", faults)


def open_alerts(healer: Connection) -> list[dict[str, Any]]:
    """Every alert that has not ended, oldest first, as the healer tells it."""
    found: list[dict[str, Any]] = []
    while True:
        wanted = {"limit": _MAX_ALERTS, "offset": len(found)}
        page = healer.call("GET", "/alerts", params=wanted)
        found += page
        if len(page) < _MAX_ALERTS:
            return found


def silence_body(
    matchers: Sequence[str], ends: datetime, reason: str, owner: str = ""
) -> dict[str, Any]:
    """A silence that begins now, as the healer takes it; by default of who runs this program."""
    return {
        "matchers": list(matchers),
        "ends_at": ends.isoformat(),
        "owner": owner or getpass.getuser(),
        "reason": reason,
    }


def _part(text: str) -> str:
    """One part of a path, whatever is in it."""
    if not text:
        raise BadInputError("an id is needed")
    return quote(text, safe="")
