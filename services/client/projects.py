"""Projects: the role of a caller in each, and the default for requests that name none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from shared.contracts import DEFAULT_PROJECT
from shared.roles import Role

EVERY = "*"
"""Stands for every project where projects are listed."""


@dataclass(frozen=True)
class Projects:
    """The projects of a person; all others do not exist for that person."""

    roles: Mapping[str, Role] = field(default_factory=dict)
    every: Role | None = None
    """The role in projects that ``roles`` does not name; None: they are invisible."""

    @classmethod
    def of(cls, listed: Iterable[str], role: Role) -> Projects:
        """The projects of a list of names, for one role."""
        names = set(listed)
        return cls({}, role) if EVERY in names else cls(dict.fromkeys(names, role))

    def __contains__(self, project: str) -> bool:
        return self.every is not None or project in self.roles

    def __or__(self, others: Projects) -> Projects:
        """The union of both; of two roles in a project the higher one counts."""
        names = {*self.roles, *others.roles}
        both = {name: _higher(self.role_in(name), others.role_in(name)) for name in names}
        named = {name: role for name, role in both.items() if role is not None}
        return Projects(named, _higher(self.every, others.every))

    def role_in(self, project: str) -> Role | None:
        """The role in a project; None if it is invisible."""
        return self.roles.get(project, self.every)

    def only(self, project: str) -> Projects:
        """This one of them, or none at all; '' for all of them."""
        if not project:
            return self
        role = self.role_in(project)
        return Projects() if role is None else Projects({project: role})

    @property
    def listed(self) -> list[str]:
        """The names of the projects, for people and for storage."""
        return [EVERY] if self.every is not None else sorted(self.roles)

    @property
    def usual(self) -> str:
        """The project of a request that names none; '' if there are several."""
        if DEFAULT_PROJECT in self:
            return DEFAULT_PROJECT
        return next(iter(self.roles)) if len(self.roles) == 1 else ""


ALL = Projects(every=Role.ADMIN)
NONE = Projects()


def _higher(first: Role | None, second: Role | None) -> Role | None:
    if first is None or second is None:
        return second if first is None else first
    return first if first.allows(second) else second
