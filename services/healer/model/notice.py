"""The contents of a notification, before it is rendered."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from shared.changes import with_changes
from shared.contracts.alerts import AnomalyKind, BandPoint, Point, SeriesRef, Severity
from shared.contracts.remediation import EvidenceRow, EvidenceTable

Kind = Literal[
    "predicted",
    "firing",
    "handled",
    "escalated",
    "resolved",
    "acknowledged",
    "unanswered",
    "flapping",
]
"""The kinds of notice about one alert."""
SignalWord = Literal["alarm", "anomaly", "prediction"]
"""A crossed threshold, an anomaly, or a prediction."""
_ROWS_LEFT = 3
"""The rows, facts and actions that stay in a notice that was too large for its receiver."""
ENDINGS = frozenset({"handled", "resolved"})
"""The kinds that say that an alert is over."""


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True)


class Line(_Said):
    """One alert in one row."""

    incident_id: str
    kind: Kind
    severity: Severity
    series: SeriesRef
    family: str
    value: float
    threshold: float | None = None
    sentence: str
    signal: SignalWord = "alarm"
    labels: dict[str, str] = {}
    gone: bool = Field(
        default=False, description="True if it is over because its series sends nothing any more."
    )
    cause: str = Field(default="", description="The incident it follows from.")
    alone: bool = Field(
        default=False, description="True if an earlier notice that was no summary named it."
    )
    since: AwareDatetime


class Notice(_Said):
    """A notification of an alert and others of its group; stored until it is sent."""

    form: Literal["alert"] = "alert"
    message_id: str = Field(description="Deterministic, without <>; makes a repetition known.")
    thread_id: str = Field(default="", description="The first mail's id; '' for the first itself.")
    references: tuple[str, ...] = Field(
        default=(), description="The threads of the other alerts that it names."
    )
    incident_id: str = ""
    group: str = Field(default="", description="The group of alerts that share notices.")
    kind: Kind
    severity: Severity
    series: SeriesRef
    family: str
    labels: dict[str, str] = Field(default={}, description="The labels that matchers see.")
    value: float
    unit: str
    threshold: float | None = None
    above: bool = Field(default=True, description="True if the alarm is above the threshold.")
    sentence: str = Field(description="The reason, in the detector's or forecaster's words.")
    signal: SignalWord = Field(default="alarm", description="The kind of its signal.")
    anomaly_kind: AnomalyKind = Field(
        default=AnomalyKind.OTHER, description="The anomaly's shape, e.g. level_up."
    )
    opening: str = Field(
        default="", description="The first sentences, for a person who is woken by it."
    )
    gone: bool = Field(
        default=False, description="True if it is over because its series sends nothing any more."
    )
    outcome: str = Field(
        default="",
        description="For the headline of an end: the change by a remediation, or the value now.",
    )
    story: tuple[tuple[str, str], ...] = Field(
        default=(), description="The story so far: time and sentence of each fact."
    )
    next_step: str = Field(default="", description="The next step if nobody acts.")
    runbook_url: str = Field(
        default="", description="The address of the page that says what to do."
    )
    rule: str = Field(default="", description="The rule of the policy for it, in words.")
    crossing_ms: int | None = None
    earliest_ms: int | None = None
    latest_ms: int | None = None
    predicted_value: float | None = None
    recent: tuple[Point, ...] = ()
    band: tuple[BandPoint, ...] = Field(
        default=(), description="Normal range at the times of ``recent``, or forecast after them."
    )
    after: Point | None = Field(default=None, description="The value read after a remediation.")
    remediation: str = Field(
        default="", description="The last remediation that was begun or proposed."
    )
    evidence_title: str = ""
    evidence_truncated: bool = False
    evidence: tuple[EvidenceRow, ...] = ()
    evidence_more: tuple[EvidenceTable, ...] = Field(
        default=(), description="Further looks at the machine; their first rows are shown."
    )
    evidence_note: str = Field(default="", description="A remark about the evidence.")
    actions: tuple[str, ...] = Field(default=(), description="The actions so far, in sentences.")
    suggested_command: str = Field(default="", description="Shell command, already quoted.")
    planned: bool = Field(
        default=False, description="True if the command is what a remediation would run."
    )
    acknowledged_by: str = ""
    approval_id: str = Field(default="", description="The action that a link may approve, if any.")
    also: tuple[Line, ...] = Field(
        default=(), description="The other alerts of its group that this notice is about."
    )
    ends: str = Field(
        default="",
        description="An earlier alert of its series, whose flapping ends with this one.",
    )
    attached: tuple[Line, ...] = Field(
        default=(), description="Some of the alerts that follow from it."
    )
    attached_total: int = 0
    left_out: int = Field(
        default=0, description="The alerts that it does not list, because it would be too large."
    )
    since: AwareDatetime | None = None
    at: AwareDatetime

    def tables(self) -> tuple[EvidenceTable, ...]:
        """The complete evidence, with the tables about the alarm's cause first."""
        first = EvidenceTable(
            title=self.evidence_title, rows=self.evidence, truncated=self.evidence_truncated
        )
        return tuple(found for found in (first, *self.evidence_more) if found.rows)

    def lines(self) -> tuple[Line, ...]:
        """All alerts of the notification, the main one first."""
        main = Line(
            incident_id=self.incident_id,
            kind=self.kind,
            severity=self.severity,
            series=self.series,
            family=self.family,
            value=self.value,
            threshold=self.threshold,
            sentence=self.sentence,
            signal=self.signal,
            labels=self.labels,
            gone=self.gone,
            since=self.since or self.at,
        )
        return (main, *self.also)

    def shortened(self, most: int) -> Notice:
        """The notice with at most ``most`` alerts, and without its plot, tables and attachments."""
        left_out = self.left_out + len(self.also[most - 1 :])
        return with_changes(
            self,
            also=self.also[: most - 1],
            left_out=left_out,
            recent=(),
            band=(),
            evidence=self.evidence[:_ROWS_LEFT],
            evidence_more=(),
            attached=(),
            story=self.story[-_ROWS_LEFT:],
            actions=self.actions[-_ROWS_LEFT:],
        )


class Summary(_Said):
    """A notification of many alerts or of none: a storm, a digest, a test, a failing channel."""

    form: Literal["summary"] = "summary"
    message_id: str
    thread_id: str = ""
    references: tuple[str, ...] = ()
    kind: Literal["storm", "storm over", "digest", "test", "canary", "channel", "job"]
    severity: Severity
    headline: str = Field(description="One short line.")
    sentences: tuple[str, ...] = ()
    counts: tuple[tuple[str, int], ...] = Field(
        default=(), description="Subjects, and how often each occurs."
    )
    listed: int = Field(
        default=100, description="The number of rows that are shown; all are attached."
    )
    rows: tuple[Line, ...] = Field(
        default=(), description="Every alert that it names, causes first."
    )
    path: str = Field(default="", description="The page about it, below the web page's address.")
    project: str = Field(
        default="",
        description="The projects of the jobs that it names, separated by "
        "spaces; empty: it names no job.",
    )
    attached: dict[str, int] = Field(
        default={}, description="Incident to the number of alerts that follow from it."
    )
    left_out: int = Field(
        default=0, description="The alerts that it does not list, because it would be too large."
    )
    at: AwareDatetime

    def lines(self) -> tuple[Line, ...]:
        """All alerts of the notification."""
        return self.rows

    def shortened(self, most: int) -> Summary:
        """The summary with at most ``most`` of its alerts."""
        left_out = self.left_out + len(self.rows[most:])
        return with_changes(self, rows=self.rows[:most], left_out=left_out)


AnyNotice = Annotated[Notice | Summary, Field(discriminator="form")]
"""A notification, about one group of alerts or many."""
