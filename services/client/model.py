"""The read model of pages and API, which also records users' requests."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import islice

from services.client.description import Description, JobUsage, describe, usage
from services.client.listing import belongs, lightly, listed, matching, statuses
from services.client.moments import MAX_MOMENTS
from services.client.progress import Progress
from services.client.projects import Projects
from services.client.records import (
    CHUNKS,
    ENDED,
    JOBS,
    LEFT_SESSIONS,
    MEMBERS,
    MOMENTS,
    PLANS,
    PROGRESS,
    REFUSED,
    REMOVED,
    SUBMITTED,
    TALLIES,
    UPLOADS,
    USAGE,
    JobView,
    LeftSession,
    LogChunk,
    MemberView,
    Moment,
    PlanView,
    Upload,
    state_of,
)
from services.client.sessions import Session
from services.client.usage_curve import UsageCurve
from shared.changes import changed
from shared.contracts import JobState, JobSubmit
from shared.machine import machine_of
from shared.store import Records, Store

_PRUNED_AT_ONCE = 1000
_AT_ONCE = 10
MAX_PLANS = 2_000
_MAX_MEMBERS = 20_000
_MAX_JOBS_MEASURED = 500
SHOWN_STATES = (*(s.value for s in JobState), SUBMITTED, "refused")
_LIVING = [state for state in SHOWN_STATES if state not in ENDED]


class ReadModel:
    """Jobs and log chunks in the client's own store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def job(self, job_id: str, projects: Projects) -> JobView | None:
        """The job, None if it is not known in these projects or has been removed."""
        with self.store.reading() as records:
            return _shown(records, job_id, projects)

    def is_taken(self, job_id: str, projects: Projects) -> bool:
        """Return whether a job of another project has this id."""
        with self.store.reading() as records:
            view = records.get(JOBS, job_id)
        return (
            view is not None
            and view.state not in (REFUSED, REMOVED)
            and not belongs(view, projects)
        )

    def jobs(
        self,
        states: tuple[str, ...],
        limit: int,
        offset: int,
        projects: Projects,
        search: str = "",
    ) -> list[JobView]:
        """The jobs, newest first; without named states, in all but removed; see ``matching``."""
        with self.store.reading() as records:
            if search:
                found = matching(records, states or SHOWN_STATES, projects, search)
                return list(islice(found, offset, offset + limit))
            return listed(records, states or SHOWN_STATES, limit, offset, projects)

    def job_counts(self, projects: Projects) -> dict[str, int]:
        """Return how many jobs of these projects there are of each state that is listed."""
        with self.store.reading() as records:
            known, of_projects = records.count(JOBS), statuses(records, SHOWN_STATES, projects)
        counts: dict[str, int] = {}
        for status in of_projects:
            counts[state_of(status)] = counts.get(state_of(status), 0) + known.get(status, 0)
        return counts

    def oldest(self, states: Sequence[str], limit: int, projects: Projects) -> list[JobView]:
        """The oldest jobs of these states, by submission."""
        with self.store.reading() as records:
            found = statuses(records, states, projects)
            return lightly(records, records.keys(JOBS, found, limit=limit))

    def submitted(self, message: JobSubmit, now: datetime) -> JobView:
        """Show a job that the broker has, before the task service has answered."""
        view = JobView(
            job_id=message.job_id,
            name=message.name,
            state=SUBMITTED,
            sequence=0,
            created_at=now,
            updated_at=now,
            submit=message,
            reason="submitted; not yet seen by the task service",
        )
        with self.store.transaction() as records:
            known = records.get(JOBS, message.job_id)
            if known is None or (known.sequence == 0 and known.state != SUBMITTED):
                records.put(JOBS, view)
                return view
            return known

    def forget(self, refused: Sequence[str]) -> None:
        """Forget requests that became no job; their ids may be used again."""
        with self.store.transaction() as records:
            for job_id in refused:
                records.delete(JOBS, job_id)

    def chunks(self, job_id: str, before: int, limit: int = 100) -> tuple[int, list[LogChunk]]:
        """Log chunks in order of arrival, after the first ``before``, and how many precede them.

        These are more than ``before`` where so many of the oldest are listed no longer.
        """
        with self.store.reading() as records:
            tally = records.get(TALLIES, job_id)
            dropped = tally.dropped if tally else 0
            offset = max(0, before - dropped)
            found = records.find(CHUNKS, group=job_id, offset=offset, limit=limit)
            return dropped + offset, found

    def description(self, job_id: str, now: datetime, projects: Projects) -> Description | None:
        """The description of a job; None if there is none in these projects."""
        with self.store.reading() as records:
            view = _shown(records, job_id, projects)
            if view is None:
                return None
            members, noted = _members(records, job_id), _noted(records, job_id)
            described = describe(
                view, members, noted, now, lambda m: records.get(USAGE, MEMBERS.key(m))
            )
            return changed(described, progress=records.get(PROGRESS, job_id))

    def progress(self, job_ids: Sequence[str]) -> dict[str, Progress]:
        """The progress of these jobs, where their programs report it."""
        with self.store.reading() as records:
            records.read_ahead(PROGRESS, keys=job_ids)
            found = (records.get(PROGRESS, job_id) for job_id in job_ids)
            return {each.job_id: each for each in found if each}

    def moments(self, job_id: str) -> list[Moment]:
        """All moments of a job and its members."""
        with self.store.reading() as records:
            return _noted(records, job_id)

    def usage(self, projects: Projects, job_id: str | None = None) -> list[JobUsage]:
        """The use of the jobs that have not ended, or of one job with each of its members."""
        with self.store.reading() as records:
            if job_id is None:
                views = listed(records, _LIVING, _MAX_JOBS_MEASURED, 0, projects)
            else:
                view = _shown(records, job_id, projects)
                views = [] if view is None else [view]
            return [
                usage(view, _members(records, view.job_id), each=job_id is not None)
                for view in views
            ]

    def members_on(self, machine: str, projects: Projects) -> list[tuple[JobView, list[str]]]:
        """The jobs that have not ended with members on a machine, and these members' names."""
        with self.store.reading() as records:
            found = statuses(records, _LIVING, projects)
            keys = records.keys(JOBS, found, limit=_MAX_JOBS_MEASURED, newest_first=True)
            records.read_ahead(MEMBERS, groups=keys, newest=_MAX_MEMBERS)
            names = {key: here for key in keys if (here := _names_on(machine, records, key))}
            views = lightly(records, list(names))
        return [(view, names[view.job_id]) for view in views if belongs(view, projects)]

    def usage_curves(self, job_id: str, offset: int, limit: int) -> list[UsageCurve]:
        """The use of a job's members over time, in the order in which they were first measured."""
        with self.store.reading() as records:
            return records.find(USAGE, group=job_id, offset=offset, limit=limit)

    def largest_curves(self, members: Iterable[MemberView], limit: int) -> list[UsageCurve]:
        """The curves of those members that held the most memory."""
        measured = [m for m in members if m.memory_peak_bytes is not None]
        chosen = sorted(measured, key=lambda m: -(m.memory_peak_bytes or 0))[:limit]
        keys = [MEMBERS.key(member) for member in chosen]
        with self.store.reading() as records:
            records.read_ahead(USAGE, keys=keys)
            return [curve for key in keys if (curve := records.get(USAGE, key))]

    def incarnations(self, job_id: str) -> dict[str, int]:
        """The latest incarnation of each member that has reported."""
        with self.store.reading() as records:
            return {m.name: m.incarnation for m in _members(records, job_id)}

    def ask(self, request_id: str, now: datetime, project: str) -> None:
        """Expect the answer to a request for a plan in this project."""
        with self.store.transaction() as records:
            asked = PlanView(request_id=request_id, asked_at=now, project=project)
            records.put(PLANS, asked)
            # Every submit requests a plan, and answers may be large: only the latest are kept.
            for old in records.find(PLANS, newest_first=True, offset=MAX_PLANS, limit=_AT_ONCE):
                records.delete(PLANS, old.request_id)

    def plan(self, request_id: str, projects: Projects) -> PlanView | None:
        """A plan that was requested in these projects; None if it was not, or has expired."""
        with self.store.reading() as records:
            plan = records.get(PLANS, request_id)
        return plan if plan is not None and plan.project in projects else None

    def begin(self, upload: Upload, most: int) -> bool:
        """Store an upload; False if ``most`` others of its project are unfinished."""
        with self.store.transaction() as records:
            if len(records.find(UPLOADS, group=upload.project, limit=most)) >= most:
                return False
            records.put(UPLOADS, upload)
            return True

    def upload(self, upload_id: str, project: str) -> Upload | None:
        """An upload that was begun in this project and neither finished nor given up."""
        with self.store.reading() as records:
            upload = records.get(UPLOADS, upload_id)
        return upload if upload is not None and upload.project == project else None

    def overdue_uploads(self, now: datetime) -> list[Upload]:
        """The uploads that were not finished in time."""
        with self.store.reading() as records:
            return records.find(UPLOADS, due_before=now, limit=_PRUNED_AT_ONCE)

    def end_upload(self, upload_id: str) -> None:
        """Forget an upload, finished or given up."""
        with self.store.transaction() as records:
            records.delete(UPLOADS, upload_id)

    def end_session(self, session: Session) -> None:
        """End a session for everybody who holds its cookie."""
        until = datetime.fromtimestamp(session.until, UTC)
        with self.store.transaction() as records:
            records.put(LEFT_SESSIONS, LeftSession(id=session.id, until=until))

    def has_ended(self, session: Session) -> bool:
        """Return whether the session has been ended."""
        with self.store.reading() as records:
            return records.get(LEFT_SESSIONS, session.id) is not None

    def prune(self, now: datetime) -> None:
        """Delete removed and refused jobs, answered plans and ended sessions when they expire."""
        with self.store.transaction() as records:
            for view in records.find(JOBS, due_before=now, limit=_PRUNED_AT_ONCE):
                records.delete(JOBS, view.job_id)
            for plan in records.find(PLANS, due_before=now, limit=_PRUNED_AT_ONCE):
                records.delete(PLANS, plan.request_id)
            for left in records.find(LEFT_SESSIONS, due_before=now, limit=_PRUNED_AT_ONCE):
                records.delete(LEFT_SESSIONS, left.id)


def _names_on(machine: str, records: Records, job_id: str) -> list[str]:
    here = (m for m in _members(records, job_id) if machine_of(m.node) == machine)
    return [member.name for member in here if member.exited_at is None]


def _members(records: Records, job_id: str) -> list[MemberView]:
    return records.find(MEMBERS, group=job_id, limit=_MAX_MEMBERS)


def _noted(records: Records, job_id: str) -> list[Moment]:
    return records.find(MOMENTS, group=job_id, limit=2 * MAX_MOMENTS + 1)


def _shown(records: Records, job_id: str, projects: Projects) -> JobView | None:
    view = records.get(JOBS, job_id)
    return None if view is None or view.state == REMOVED or not belongs(view, projects) else view
