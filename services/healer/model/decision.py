"""A decision whether to act, and the facts it rests on."""

from __future__ import annotations

from datetime import UTC, datetime

from pydantic import AwareDatetime, BaseModel, ConfigDict

from shared.contracts.alerts import AnomalyKind
from shared.contracts.healing import Level


class Facts(BaseModel):
    """The facts of the moment at which a decision was made."""

    model_config = ConfigDict(frozen=True)

    now: AwareDatetime = datetime(1970, 1, 1, tzinfo=UTC)
    stopped: str = ""
    """The person who stopped healing on this machine, and the reason; empty: nobody."""
    seconds_since_same: float | None = None
    """Time since the last action on this target and series; None: longer than the cooldown."""
    attempts: int = 0
    """Actions begun for this series within the last day."""
    runs_on_host: int = 0
    """Actions begun on this machine within the last hour."""
    runs: int = 0
    """Actions begun anywhere within the last hour."""
    group: str = ""
    group_size: int = 0
    group_active: int = 0
    """Machines of the group that are being acted on."""
    storm: bool = False
    """True if there is a storm of alerts."""
    held_by: str = ""
    """The action that holds the target's lease; empty: free."""
    probability: float | None = None
    """The probability of a predicted alarm; None: it fires, or the probability is unknown."""
    kind: AnomalyKind = AnomalyKind.OTHER
    """The anomaly's shape, which rules may require."""


class Decision(BaseModel):
    """The decided level and, if it differs from the rule's, the reason."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Level
    remediation: str = ""
    reason: str = ""
    exhausted: bool = False
    """True if a repeated action was forbidden, so that a person must be notified."""
