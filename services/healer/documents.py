"""The healer's reference pages, from the code: remediations, states, log events."""

from __future__ import annotations

from pathlib import Path

from services.healer.api.app import create_app
from services.healer.api.dependencies import Healer
from services.healer.model.decision_log import EVENTS
from services.healer.model.transitions import PHASES, STATES, Phase, diagram
from services.healer.remediations import REGISTRY, Remediation
from services.healer.remediations.on_cluster import OnCluster
from services.healer.settings import HealerSettings
from shared.contracts.healing import ActionState
from shared.documents.http_page import ABSENT, http_page
from shared.documents.markdown import document, nested_tables, settings_table, table

FOLDER = Path("docs/reference/remediations")
STATES_PAGE = Path("docs/reference/healer-states.md")
EVENTS_PAGE = Path("docs/reference/healer-log-events.md")
HTTP_PAGE = Path("docs/reference/http-healer.md")
_HTTP = """\
The API for Alertmanager, links in mails and `barograph healing`, served at the healer's address.
If a token is set, each request carries it as `Authorization: Bearer TOKEN`; a signed link needs
none. The OpenAPI document is at `GET /api/v1/openapi.json`. The body of a refusal is `{"faults":
[{"field", "problem"}]}`."""


def pages() -> dict[Path, str]:
    """Path to content of every page."""
    return remediations() | {STATES_PAGE: states(), EVENTS_PAGE: events(), HTTP_PAGE: http()}


def remediations() -> dict[Path, str]:
    """The page of each remediation, and the list of them."""
    found = {FOLDER / f"{name}.md": page(name, cls) for name, cls in REGISTRY.own().items()}
    rows = [
        (f"[{name}]({name}.md)", cls.PLACE, "yes" if cls.UNDOABLE else "no", _first(cls))
        for name, cls in REGISTRY.own().items()
    ]
    head = ("remediation", "acts on", "can be undone", "effect")
    found[FOLDER / "README.md"] = document("# Remediations", table(head, rows))
    return found


def http() -> str:
    """The page of the HTTP API."""
    healer = Healer(HealerSettings(), ABSENT, ABSENT, ABSENT, ABSENT, ABSENT, {}, ABSENT)
    return http_page("HTTP API of the healer", _HTTP, create_app(healer).openapi())


def states() -> str:
    """The page of the states of incidents and actions, from the tables that hold them."""
    return document(
        "# States of incidents and actions",
        "Only these transitions are possible: any other one is refused before it is stored.",
        "## An incident's phase",
        f"```mermaid\n{diagram(PHASES, Phase.WAITING)}```",
        "## An action's state",
        f"```mermaid\n{diagram(STATES, ActionState.PROPOSED)}```",
    )


def events() -> str:
    """The page of log events about alerts."""
    rows = [(f"`{name}`", kind, why) for kind, (name, why) in EVENTS.items()]
    return document(
        "# Log events about alerts",
        (
            "The healer writes one line at level INFO for each decision about an alert. Every "
            "line has `alert_id`, `host` and `item`; where a message opened the alert also "
            "`trace_id`, the trace of that message; and the fields of the fact. `barograph why` "
            "shows the same facts."
        ),
        table(("event", "fact", "says"), rows),
    )


def page(name: str, cls: type[Remediation]) -> str:
    """One remediation's page."""
    back = "Undone if the value does not improve." if cls.UNDOABLE else "Cannot be undone."
    settle = f"The item is read again after {cls.SETTLE_S:g} s at the earliest. "
    return document(
        f"# {name}",
        (cls.__doc__ or "").replace("\n    ", "\n").strip(),
        f"Against: {_helps(cls)}.",
        f"{_place(name, cls)}.",
        f"{settle if cls.SETTLE_S else ''}{back}",
        "## Settings",
        settings_table(cls),
        *nested_tables(cls, 3),
        "## Risks",
        "\n".join(f"- {risk}" for risk in cls.RISKS),
    )


def _place(name: str, cls: type[Remediation]) -> str:
    if issubclass(cls, OnCluster):
        return (
            "Through the Kubernetes API, by the healer: allowed in "
            f"`BAROGRAPH_HEALER_REMEDIATIONS`. Right in the chart: {cls.RIGHT}"
        )
    also = " or `BAROGRAPH_AGENT_CLEAN`" if name == "clean-logs" else ""
    return f"On the machine, by its node agent: allowed in `BAROGRAPH_AGENT_REMEDIATIONS`{also}"


def _helps(cls: type[Remediation]) -> str:
    if not issubclass(cls, OnCluster):
        return cls.HELPS
    names = " or ".join(f"`{label}`" for label in cls.LABELS)
    place = " and `namespace`" if "{namespace}" in cls.COLLECTION else ""
    return f"any series with the label {names}{place}"


def _first(cls: type[Remediation]) -> str:
    text = " ".join((cls.__doc__ or "").split())
    return text.split(". ")[0].rstrip(".")
