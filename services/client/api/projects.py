"""The project of a caller's request, and the packages that a project's job may name."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from pydantic import Field

from services.client.access import CALLER
from services.client.api.faults import refusal
from shared.contracts import JobSubmit
from shared.contracts.names import MAX_PROJECT, PROJECT_WORD
from shared.packages.places import is_package, prefix_of
from shared.roles import Role

_PATTERN = f"^({PROJECT_WORD})?$"
OfProject = Annotated[
    str,
    Query(
        max_length=MAX_PROJECT, pattern=_PATTERN, description="A project; all of yours if empty."
    ),
]
NamedProject = Annotated[
    str,
    Field(
        max_length=MAX_PROJECT,
        pattern=_PATTERN,
        description="The project it belongs to; empty: the caller's own, or the default project.",
    ),
]


def may_submit(project: str) -> None:
    """See that a caller may change things in a project of theirs.

    Raises:
        Refusal: when they only look on there, whatever they may do in others.
    """
    role = CALLER.get().projects.role_in(project)
    if role is None or not role.allows(Role.SUBMITTER):
        text = (
            f"this needs the role {Role.SUBMITTER} in project {project}; you are {role or 'none'}"
        )
        raise refusal(403, text, "project")


def own_project(named: object) -> str:
    """The project in which a caller wants something done, '' and None for the usual one.

    Raises:
        Refusal: when the caller is not of it, or has several and names none.
    """
    projects = CALLER.get().projects
    project = str(named or projects.usual)
    if not project:
        names = ", ".join(projects.listed) or "none"
        raise refusal(422, f"name one of your projects, which are: {names}", "project")
    if project not in projects:
        raise refusal(403, f"you are not of a project {project}", "project")
    may_submit(project)
    return project


def own_package(job: JobSubmit, bucket: str) -> None:
    """See that a job names a package of its project.

    Raises:
        Refusal: when it names any other object, which its launcher could then read.
    """
    if not is_package(job.package, bucket, job.project):
        place = f"{bucket}:{prefix_of(job.project)}:NAME"
        raise refusal(422, f"packages of project {job.project} are named {place}", "package")
