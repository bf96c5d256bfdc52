"""The client: jobs of the client service, and alerts of the healer."""

from __future__ import annotations

import getpass
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from shared.client import addresses, answers, packages
from shared.client.answers import Alert, Job, LogPiece, Preview, Result, Silence, Submitted
from shared.client.connection import Connection, path_part
from shared.client.errors import NotEndedError, RefusedError, UnreachableError
from shared.client.submitting import submitted
from shared.contracts import JobPlanned
from shared.job_names import job_name

PLAN_S = 30
"""The time for which the installation's answer to a plan is waited for."""
_PAGE = 500
_MAX_ALERTS = 5000
_LOOK_S = 1.0
_MAX_MISSED = 30
"""A service that starts again is waited for; the job goes on without it."""


def refuse_faults(plan: JobPlanned | None) -> None:
    """Raise the faults of a plan; a plan that was not made in time has none."""
    if plan is not None and plan.faults:
        raise RefusedError("", plan.faults)


Review = Callable[[JobPlanned | None], object]
"""Reacts to a plan, or to None if there was none in time."""
Upload = Callable[[Path, str, str], str]
"""``(archive, its SHA-256, project) -> bucket:key:file``"""


def _unreported(sent: int) -> None:
    """Ignore the progress of an upload."""


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
        """Submit a job, once the installation has said that it can run.

        Args:
            package: a folder with ``code/`` and perhaps ``data/``, or a packed one; '' where
                ``fields`` name a package that was uploaded before.
            fields: those of ``job.submit``, such as ``main``, ``type``, ``workers``, ``resources``.
                The same ``job_id`` with the same fields again is the same job.
        """
        folder = Path(package) if package else None
        if folder is None:
            return self.job(self.submit_request(fields).job_id)
        main = str(fields.setdefault("main", "main.py"))
        fields.setdefault("name", job_name(folder))
        packages.check_package(folder, main)

        def review(plan: JobPlanned | None) -> None:
            packages.refuse_syntax(plan, folder, main)
            refuse_faults(plan)

        return self.job(self.submit_request(fields, folder, review=review).job_id)

    def submit_request(
        self,
        body: dict[str, Any],
        package: Path | None = None,
        *,
        review: Review = refuse_faults,
        upload: Upload | None = None,
    ) -> Submitted:
        """Plan a job, then upload its package, then submit it; each step may be replaced.

        Args:
            body: the fields of ``job.submit``.
            package: a folder or a packed one; None where ``body`` names an uploaded package.
            review: what is to be made of the plan; an exception of it ends the submit.
            upload: uploads the packed folder; by default ``upload_archive``.
        """
        asked = dict(body)
        with ExitStack() as stack:
            archive = None
            if package is not None:
                archive, digest = stack.enter_context(packages.archive_of(package))
                asked["package_sha256"] = digest
            review(self.plan(**asked))
            if archive is not None:
                project = str(asked.get("project", ""))
                asked["package"] = (upload or self.upload_archive)(archive, digest, project)
        return submitted(self.jobs_api, asked)

    def plan(self, **fields: Any) -> JobPlanned | None:
        """The plan of a job with these fields; None without an answer in time."""
        asked = self.jobs_api.ask(answers.PlanAsked, "POST", "/plans", json=fields)
        path = f"/plans/{path_part(asked.request_id)}"
        wait = {"wait_s": PLAN_S}
        found = self.jobs_api.ask(answers.PlanFound, "GET", path, params=wait, timeout=PLAN_S + 10)
        return found.answer

    def upload(self, package: Path | str, project: str = "") -> str:
        """Upload a folder or a packed one for jobs of a project; returns bucket:key:file."""
        with packages.archive_of(Path(package)) as (archive, digest):
            return self.upload_archive(archive, digest, project)

    def upload_archive(
        self,
        archive: Path,
        sha256: str,
        project: str = "",
        progress: Callable[[int], object] = _unreported,
    ) -> str:
        """Upload a packed folder with this digest, continuing an interrupted upload."""
        return packages.upload(self.jobs_api, archive, sha256, project, progress)

    def job(self, job_id: str) -> Job:
        """One job as it stands now."""
        return self.jobs_api.ask(Job, "GET", f"/jobs/{path_part(job_id)}")

    def jobs(self, states: Sequence[str] = (), project: str = "") -> Iterator[Job]:
        """Every job in these states and this project, or in any; the newest first."""
        offset: int | None = 0
        while offset is not None:
            asked: dict[str, Any] = {"limit": _PAGE, "offset": offset, "state": list(states)}
            asked["project"] = project
            page = self.jobs_api.ask(answers.JobPage, "GET", "/jobs", params=asked)
            yield from page.jobs
            offset = page.next_offset

    def wait(self, job_id: str, timeout_s: float | None = None) -> Job:
        """Wait until a job has ended, well or not.

        Raises:
            NotEndedError: when it has not within ``timeout_s``.
        """
        began, missed = time.monotonic(), 0
        job = self.job(job_id)
        while not job.ended:
            if timeout_s is not None and time.monotonic() - began > timeout_s:
                raise NotEndedError(f"{job_id} is {job.state} after {timeout_s:g} s")
            time.sleep(_LOOK_S)
            try:
                job, missed = self.job(job_id), 0
            except UnreachableError:
                missed += 1
                if missed > _MAX_MISSED:
                    raise
        return job

    def logs(self, job_id: str, member: str = "") -> Iterator[LogPiece]:
        """The stored part of a job's output, one member and incarnation after the other."""
        path = f"/jobs/{path_part(job_id)}/logs"
        wanted = {"member": member} if member else {}
        for part in self.jobs_api.ask(list[answers.LogPart], "GET", f"{path}/parts", params=wanted):
            whose = part.model_dump()
            for text in self.jobs_api.text(path, params=whose):
                yield LogPiece.model_validate(whose | {"text": text})

    def follow(self, job_id: str) -> Iterator[LogPiece]:
        """A job's output from its beginning, live until it has ended."""
        for event, data in self.jobs_api.events(f"/jobs/{path_part(job_id)}/logs/follow"):
            if event == "log":
                yield self.jobs_api.read(LogPiece, data)

    def results(self, job_id: str, below: str = "") -> Iterator[Result]:
        """The files a job left in its model and output directories, perhaps below one folder."""
        wanted: dict[str, Any] = {"below": below}
        while True:
            path = f"/jobs/{path_part(job_id)}/results"
            page = self.jobs_api.ask(answers.ResultPage, "GET", path, params=wanted)
            yield from page.files
            if page.next_after is None:
                return
            wanted["after"] = page.next_after

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
        """Stop a job; what it has written so far is stored."""
        self.jobs_api.call("POST", f"/jobs/{path_part(job_id)}/cancel", json={"reason": reason})

    def remove(self, job_id: str) -> None:
        """Forget an ended job: its record, logs and results."""
        self.jobs_api.call("DELETE", f"/jobs/{path_part(job_id)}")

    # Alerts.

    def alerts(self) -> list[Alert]:
        """Every open alert, predicted ones too; the oldest first."""
        return self.alerts_api.read(list[Alert], open_alerts(self.alerts_api))

    def acknowledge(self, incident_id: str, by: str = "") -> None:
        """Acknowledge an alert, by default in the name of the user who runs this program."""
        path = f"/alerts/{path_part(incident_id)}/acknowledge"
        self.alerts_api.call("POST", path, json={"by": by or getpass.getuser()})

    def silences(self) -> list[Silence]:
        """All silences and maintenance windows."""
        return self.alerts_api.ask(list[Silence], "GET", "/silences")

    def silence(
        self, matchers: Sequence[str], lasting: timedelta, reason: str, owner: str = ""
    ) -> Silence:
        """Mute the alerts that all matchers fit, such as ``host="db7"``."""
        body = silence_body(matchers, datetime.now(UTC) + lasting, reason, owner)
        return self.alerts_api.ask(Silence, "POST", "/silences", json=body)

    def preview(self, matchers: Sequence[str], lasting: timedelta) -> Preview:
        """The alerts that such a silence would mute; nothing is muted."""
        body = silence_body(matchers, datetime.now(UTC) + lasting, "preview")
        return self.alerts_api.ask(Preview, "POST", "/silences/preview", json=body)

    def end_silence(self, silence_id: str) -> None:
        """End a silence now; people are notified of what it held back and still holds."""
        self.alerts_api.call("DELETE", f"/silences/{path_part(silence_id)}")


def open_alerts(healer: Connection) -> list[dict[str, Any]]:
    """All open alerts, oldest first."""
    found: list[dict[str, Any]] = []
    while True:
        wanted = {"limit": _MAX_ALERTS, "offset": len(found)}
        page = healer.ask(list[dict[str, Any]], "GET", "/alerts", params=wanted)
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
