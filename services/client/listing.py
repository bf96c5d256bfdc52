"""Lists of jobs, read without the large fields of a job."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from heapq import merge

from services.client.projects import Projects
from services.client.records import JOBS, JobView, state_of, status_in
from shared.changes import changed
from shared.store import Records


def belongs(view: JobView, projects: Projects) -> bool:
    """Return whether a job belongs to these projects; an unknown job belongs to none."""
    return projects.every is not None or (bool(view.project) and view.project in projects)


def statuses(records: Records, states: Sequence[str], projects: Projects) -> list[str]:
    """The store's statuses of the jobs in these states and projects."""
    if projects.every is None:
        return [status_in(project, state) for project in projects.roles for state in states]
    return [each for each in records.statuses(JOBS) if state_of(each) in states]


def listed(
    records: Records, states: Sequence[str], limit: int, offset: int, projects: Projects
) -> list[JobView]:
    """Jobs without what can be large of each: variables, arguments and the names of files.

    A job may have megabytes of them, so that few are held at once, and none is kept.
    """
    found = statuses(records, states, projects)
    keys = records.keys(JOBS, found, limit=limit, offset=offset, newest_first=True)
    # An earlier version stored jobs of unknown owners under the default project.
    return [view for view in lightly(records, keys) if belongs(view, projects)]


def matching(
    records: Records, states: Sequence[str], projects: Projects, search: str
) -> Iterator[JobView]:
    """Jobs that a search finds, newest first; only those whose JSON has its words are read.

    They are read as they are taken: a word that is in every job costs no more than a page of them.
    """
    part = search.casefold()
    written = json.dumps(search, ensure_ascii=False)[1:-1].casefold()

    def of(status: str) -> Iterator[JobView]:
        for view in records.scan(JOBS, status, lambda data: written in data.casefold()):
            texts = (view.job_id, view.name, view.reason)
            if belongs(view, projects) and any(part in text.casefold() for text in texts):
                yield view

    found = [of(status) for status in statuses(records, states, projects)]
    return map(_light, merge(*found, key=lambda view: view.created_at, reverse=True))


def lightly(records: Records, keys: Sequence[str]) -> list[JobView]:
    """The jobs of these keys, in their order, without what can be large."""
    records.read_ahead(JOBS, keys=keys)
    views = (records.get(JOBS, key) for key in keys)
    return [_light(view) for view in views if view is not None]


def _light(view: JobView) -> JobView:
    submit = view.submit and changed(view.submit, env={}, args=())
    return changed(view, submit=submit, artifacts=(), last_lines=())
