"""The records of notification: the state of each alert, notices, deliveries, storms."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict

from services.healer.model.narrative import Narrative
from services.healer.model.notice import AnyNotice, Kind, SignalWord
from shared.contracts.alerts import AlertState, SeriesRef, Severity
from shared.contracts.message import deterministic_id
from shared.store import Collection


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True)


Flaps = Literal["", "begins", "goes on"]


class NotificationStatus(StrEnum):
    """The notification status of an alert.

    The values are those of records that older versions stored; metrics and answers say ``shown``.
    """

    WAITING = "waiting"
    """The evidence is still being collected."""
    PENDING = "pending"
    """People will be notified with the group's next notification."""
    HELD = "held"
    """The notification is held back for now."""
    NOTIFIED = "told"

    @property
    def shown(self) -> str:
        """The word for people and programs."""
        return self.name.lower()


class NotificationState(_Record):
    """The notification state of one incident, and its next notification."""

    incident_id: str
    series: SeriesRef
    value: float
    threshold: float | None = None
    sentence: str = ""
    signal: SignalWord = "alarm"
    labels: dict[str, str]
    severity: Severity
    state: AlertState = AlertState.FIRING
    """The incident's state at its last request for a notification."""
    crossing_ms: int | None = None
    """The time of the predicted crossing, if the notification is only about a prediction."""
    since: AwareDatetime
    status: NotificationStatus
    tell: Kind
    """The kind of the next notice, or of the last one."""
    announces: bool = False
    """True if its next notification announces flapping."""
    note: str = ""
    ended: bool = False
    """True if the incident has ended, so that the next notification is the last one."""
    gone: bool = False
    """True if it ended because its series ended."""
    urgent: bool = False
    """True if it does not wait for the group's interval."""
    flapping: Flaps = ""
    group: str
    due: AwareDatetime | None = None
    said: Kind | None = None
    """The kind of the last notice that was sent."""
    notices: int = 0
    thread_id: str = ""
    held_by: str = ""
    cause: str = ""
    """The incident it is attached to."""
    alone: bool = False
    """True if a notice that was no storm's summary named it."""
    ends: str = ""
    """An earlier incident of its series, whose flapping notification ends with this one."""
    acknowledged: bool = False
    step: int = 0
    """Escalation steps taken."""
    called: tuple[str, ...] = ()
    """The channels that escalations have called."""
    heard: Severity | None = None
    """The highest notified severity; the same people are notified of the end."""
    traceparent: str = ""
    """The trace context of the signal that opened the incident."""
    history: Narrative = ()
    """The facts about notifications: sent ones, and reasons for holding or dropping them."""

    @property
    def kind(self) -> Kind:
        """The kind of its next notice."""
        return "flapping" if self.announces else self.tell

    @property
    def known(self) -> bool:
        """True if people were notified of this incident, and not only that its series flaps."""
        return self.said not in {None, "flapping"}


class SeriesSeen(_Record):
    """A series that had an alert: what is remembered of a machine is found by it."""

    series: SeriesRef
    due: AwareDatetime


class Heard(_Record):
    """The notifications of an ended incident, and those that were held back."""

    incident_id: str
    history: Narrative
    due: AwareDatetime


class Flap(_Record):
    """A flapping series; people are notified when it starts and when it stops."""

    key: str
    """The key of the series; see ``series_key``."""
    incident_id: str
    """The newest of its incidents."""
    openings: int
    """The number of openings since it was last calm."""
    since: AwareDatetime
    until: AwareDatetime
    """The time at which it counts as calm if it does not open again."""
    hold_s: float
    """A firing that lasts longer than this is notified in spite of the flapping."""
    announced: bool = False
    announced_by: str = ""
    """The incident whose notice said that it flaps."""
    thread_id: str = ""
    notices: int = 0
    """Notices about its newest incident."""


class Group(_Record):
    """A group of alerts, and when people may be notified of it again."""

    group: str
    due: AwareDatetime


class Settling(_Record):
    """A summary that was sent, and how many of its rows are recorded as notified."""

    message_id: str
    deliveries: int
    done: int = 0


class StormState(_Record):
    """The state of a storm, and the number of recently notified alerts."""

    name: str = "storm"
    recent: tuple[tuple[AwareDatetime, int], ...] = ()
    attached: tuple[tuple[AwareDatetime, int], ...] = ()
    since: AwareDatetime | None = None
    """The start of the storm; None: there is none."""
    summaries: int = 0
    total: int = 0
    next_at: AwareDatetime | None = None
    thread_id: str = ""
    settling: Settling | None = None

    @property
    def active(self) -> bool:
        return self.since is not None


class NoticeRecord(_Record):
    """A notice; its deliveries refer to it."""

    notice: AnyNotice
    due: AwareDatetime


DeliveryStatus = Literal[
    "pending", "sending", "digest", "digest of jobs", "digested", "sent", "refused"
]


class Delivery(_Record):
    """One notice on its way to one recipient of one channel."""

    delivery_id: str
    message_id: str
    """The id of the notice."""
    thread: str
    """Deliveries of the same thread arrive in order."""
    channel: str
    recipient: str = ""
    status: DeliveryStatus = "pending"
    attempts: int = 0
    problem: str = ""
    holder: str = ""
    """The replica that is sending it, until ``due``."""
    asked: bool = False
    """True if the receiver has asked to wait until ``due``."""
    traceparent: str = ""
    """The trace context of what the notice is about."""
    due: AwareDatetime


class Quota(_Record):
    """Recent notifications to a recipient, and when the next digest is due."""

    recipient: str
    jobs: bool = False
    """True if it counts notifications about jobs, which must not use up the alerts' quota."""
    times: tuple[AwareDatetime, ...] = ()
    digest_at: AwareDatetime | None = None

    @property
    def key(self) -> str:
        return f"{self.recipient}\njobs" if self.jobs else self.recipient

    @property
    def waiting(self) -> DeliveryStatus:
        """The status of what waits for the next digest."""
        return "digest of jobs" if self.jobs else "digest"


class ChannelFailure(_Record):
    """A recipient of a channel that cannot be reached; the record ends with the next success."""

    recipient: str
    since: AwareDatetime
    announced: bool = False
    """True if the other channels were notified of the failure."""
    refused: bool = False
    """True if it has refused a notice since."""
    problem: str = ""
    """The last answer of the recipient's side."""
    away: bool = False
    """True if they were notified that it is unreachable, and so must be of its return."""


class LinkKey(_Record):
    """The key that signs links, where none is configured."""

    name: str = "links"
    key: str


@lru_cache(maxsize=4096)
def _series_key(text: str) -> str:
    return deterministic_id("series", text)


def series_key(series: SeriesRef) -> str:
    """A series' short name as a key."""
    return _series_key(series.text())


NOTIFICATION_STATES = Collection(
    "standings",  # the name under which older versions stored them
    NotificationState,
    key=lambda s: s.incident_id,
    group=lambda s: s.group,
    status=lambda s: s.status,
    due=lambda s: s.due,
    kept=10_000,  # a storm's summary reads them all, and those who hold them back again
)
HEARD = Collection("heard", Heard, key=lambda h: h.incident_id, due=lambda h: h.due)
FLAPS = Collection("flaps", Flap, key=lambda f: f.key, due=lambda f: f.until)
GROUPS = Collection("groups", Group, key=lambda g: g.group, due=lambda g: g.due)
STORM = Collection("storm", StormState, key=lambda s: s.name)
NOTICES = Collection(
    "notices", NoticeRecord, key=lambda n: n.notice.message_id, due=lambda n: n.due
)
DELIVERIES = Collection(
    "deliveries",
    Delivery,
    key=lambda d: d.delivery_id,
    group=lambda d: f"{d.channel} {d.recipient}",
    status=lambda d: d.status,
    due=lambda d: d.due,
)
QUOTAS = Collection("quotas", Quota, key=lambda q: q.key, due=lambda q: q.digest_at)
LINK_KEYS = Collection("link-keys", LinkKey, key=lambda k: k.name)
CHANNEL_FAILURES = Collection("channel-failures", ChannelFailure, key=lambda f: f.recipient)
SERIES_SEEN = Collection(
    "series-seen",
    SeriesSeen,
    key=lambda s: series_key(s.series),
    group=lambda s: s.series.host,
    due=lambda s: s.due,
)
