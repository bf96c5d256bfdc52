"""The node agents that have answered, and the sentence for one that does not."""

from __future__ import annotations

from datetime import timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.service import Context
from shared.store import Collection


class Answered(BaseModel):
    """A machine's agent and the time of its last answer."""

    model_config = ConfigDict(frozen=True)

    host: str
    at: AwareDatetime


_KEPT = timedelta(days=90)
"""A machine may be away for months; one that never comes back is forgotten."""
ANSWERED = Collection(
    "answered",
    Answered,
    key=lambda answered: answered.host,
    due=lambda answered: answered.at + _KEPT,
)

STORM = "The machine was not asked for the cause: there is a storm of alerts."


def heard(host: str, ctx: Context) -> None:
    """Record that the machine's agent has answered."""
    ctx.records.put(ANSWERED, Answered(host=host, at=ctx.now))


def no_evidence(host: str, wait_s: float, ctx: Context) -> str:
    """Return why a notice has no evidence, and what would change that."""
    last = ctx.records.get(ANSWERED, host)
    if last is not None:
        return (
            f"The node agent on {host} did not answer within {wait_s:g} s; "
            f"it last answered at {last.at:%Y-%m-%d %H:%M:%S} UTC."
        )
    return (
        f"There is no evidence: no node agent has ever answered from {host}. Where one runs "
        "(python -m services.healer.agent), this notice names what causes the alarm: "
        "processes, directories, connections."
    )


def no_answer(host: str, what: str, wait_s: float, ctx: Context) -> str:
    """Return why it is not known whether a command was carried out."""
    said = f"The machine did not report within {wait_s:g} s that {what}"
    never = ctx.records.get(ANSWERED, host) is None
    return f"{said}: no node agent has ever answered from {host}." if never else f"{said}."


def no_plan(remediation: str, wait_s: float) -> str:
    """Return why a notice does not say what a remediation would do."""
    return f"What {remediation} would do is not known: its plan did not come within {wait_s:g} s."
