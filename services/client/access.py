"""Authorisation: the role that each route requires, and the callers."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from re import Pattern

from starlette.routing import compile_path

from services.client.projects import ALL, NONE, Projects
from shared.roles import Role


@dataclass(frozen=True)
class Caller:
    """A caller: a person at the pages, or a program."""

    name: str
    role: Role
    projects: Projects = NONE

    @property
    def described(self) -> str:
        """The caller in a sentence for people."""
        return "the user" if self.name in ("", UNNAMED) else self.name


UNNAMED = "the holder of the token"
"""The holder of the API token who gives no name."""
NOBODY = Caller("", Role.ADMIN, ALL)
"""The caller where no token is required: everybody may do everything."""
STRANGER = Caller("", Role.VIEWER)
"""The caller without credentials, who sees the login."""
CALLER: ContextVar[Caller] = ContextVar("caller", default=NOBODY)
"""The caller whose request is being answered."""

_API = "/api/v1"
_READ = (
    "/",
    "/alerts",
    "/alerts/{alert_id}",
    "/audit",
    "/channels",
    "/forecasts",
    "/jobs",
    "/jobs/{job_id}",
    "/judgements",
    "/ledger",
    "/ledger/cases",
    "/machines",
    "/machines/{name}",
    "/metrics",
    "/metrics/series",
    "/rules",
    "/silences",
    "/silences/new",
    "/wall",
    f"{_API}/curve",
    f"{_API}/curve.csv",
    f"{_API}/jobs",
    f"{_API}/jobs/{{job_id}}",
    f"{_API}/jobs/{{job_id}}/description",
    f"{_API}/jobs/{{job_id}}/logs",
    f"{_API}/jobs/{{job_id}}/logs/follow",
    f"{_API}/jobs/{{job_id}}/logs/parts",
    f"{_API}/jobs/{{job_id}}/results",
    f"{_API}/jobs/{{job_id}}/results/{{path:path}}",
    f"{_API}/jobs/{{job_id}}/usage",
    f"{_API}/jobs/{{job_id}}/usage.csv",
    f"{_API}/openapi.json",
    f"{_API}/plans/{{request_id}}",
    f"{_API}/series",
    f"{_API}/usage",
)
ROLES: dict[tuple[str, str], Role | None] = {
    **{("GET", path): Role.VIEWER for path in _READ},
    # These routes need no token: through them one is presented.
    ("GET", "/login"): None,
    ("POST", "/login"): None,
    ("GET", "/login/oidc"): None,
    ("GET", "/login/oidc/callback"): None,
    ("POST", "/logout"): Role.VIEWER,
    # Jobs.
    ("POST", f"{_API}/jobs"): Role.SUBMITTER,
    ("POST", f"{_API}/jobs/{{job_id}}/cancel"): Role.SUBMITTER,
    ("DELETE", f"{_API}/jobs/{{job_id}}"): Role.SUBMITTER,
    ("POST", "/jobs/{change}"): Role.SUBMITTER,
    ("POST", f"{_API}/plans"): Role.SUBMITTER,
    ("GET", "/submit"): Role.SUBMITTER,
    ("POST", "/submit"): Role.SUBMITTER,
    ("PUT", f"{_API}/packages"): Role.SUBMITTER,
    ("POST", f"{_API}/uploads"): Role.SUBMITTER,
    ("POST", f"{_API}/uploads/finish"): Role.SUBMITTER,
    # Decisions. Mails contain links by which any holder can decide.
    ("POST", "/actions/{action_id}/{decision}"): Role.OPERATOR,
    ("POST", "/alerts/acknowledge"): Role.OPERATOR,
    ("POST", "/alerts/judge"): Role.OPERATOR,
    ("POST", "/channels/{name}/test"): Role.OPERATOR,
    ("POST", "/healing/{change}"): Role.OPERATOR,
    ("POST", "/rules/{rule_id}/{decision}"): Role.OPERATOR,
    ("POST", "/silences/draft"): Role.OPERATOR,
    ("POST", "/silences/new"): Role.OPERATOR,
    ("POST", "/silences/{silence_id}/end"): Role.OPERATOR,
    ("GET", "/mail"): Role.OPERATOR,
    ("GET", f"{_API}/mail"): Role.OPERATOR,
    ("GET", f"{_API}/mail/{{key}}/{{part}}"): Role.OPERATOR,
    # The platform itself.
    ("GET", "/settings"): Role.ADMIN,
    ("GET", f"{_API}/tokens"): Role.ADMIN,
    ("POST", f"{_API}/tokens"): Role.ADMIN,
    ("DELETE", f"{_API}/tokens/{{token_id}}"): Role.ADMIN,
}
"""The lowest role for each method and path; None: everybody."""


class Unlisted(LookupError):
    """A route without a role, which must not be served."""


class Access:
    """The role that each route of an application requires, in the router's order.

    Args:
        routes: method and path of every route, in the order in which the router tries them.

    Raises:
        Unlisted: naming the routes that ``ROLES`` does not have.
    """

    def __init__(self, routes: Iterable[tuple[str, str]]) -> None:
        listed = list(routes)
        missing = [f"{method} {path}" for method, path in listed if (method, path) not in ROLES]
        if missing:
            raise Unlisted(f"no role is given for {', '.join(missing)}")
        self._rules: list[tuple[str, Pattern[str], Role | None]] = [
            (method, compile_path(path)[0], ROLES[method, path]) for method, path in listed
        ]

    def needed(self, method: str, path: str) -> Role | None:
        """The lowest role for a request; a viewer's for one that no route answers."""
        method = "GET" if method == "HEAD" else method
        for each, pattern, role in self._rules:
            if each == method and pattern.match(path):
                return role
        return Role.VIEWER
