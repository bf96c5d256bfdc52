"""People identified by a provider or proxy, and the rights that their groups give them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from services.client.projects import ALL, EVERY, Projects
from shared.contracts import DEFAULT_PROJECT, ProjectName
from shared.roles import Role
from shared.visible import visible

_LONGEST_NAME = 200


@dataclass(frozen=True)
class Person:
    """A person as named by a trusted proxy or an identity provider."""

    name: str
    groups: tuple[str, ...] = ()


def is_readable(name: str) -> bool:
    """Return whether a name can stand in decisions and the audit as it is."""
    return bool(name) and name == visible(name) and len(name) <= _LONGEST_NAME


class GroupRights(BaseModel):
    """The role and the projects of a group's members."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: Role = Field(default=Role.VIEWER, description="The role of its members.")
    projects: tuple[ProjectName | Literal["*"], ...] = Field(
        default=(DEFAULT_PROJECT,),
        description="The projects in which they have this role; * stands for all.",
    )


Table = Mapping[str, GroupRights]


def rights_of(groups: Iterable[str], table: Table) -> tuple[Role, Projects] | None:
    """The rights of somebody in these groups; None for who is in none that the table has.

    The highest of the roles holds for what is of the whole platform; in a project only those
    count that a group of it gives.
    """
    given = [table[group] for group in dict.fromkeys((*groups, EVERY)) if group in table]
    if not given:
        return None
    role, projects = Role.VIEWER, Projects()
    for each in given:
        role = each.role if each.role.allows(role) else role
        projects |= Projects.of(each.projects, each.role)
    return role, ALL if role is Role.ADMIN else projects


def named(groups: Iterable[str], table: Table) -> tuple[str, ...]:
    """The groups of a person that the table names; no others are kept."""
    return tuple(group for group in dict.fromkeys(groups) if group in table)
