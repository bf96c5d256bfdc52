"""The healer's records of notifying: where each alert stands, notices, deliveries, storms."""

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


class StandingStatus(StrEnum):
    """How far people are notified of an alert.

    The values are those of records that older versions stored; metrics and answers say ``shown``.
    """

    WAITING = "waiting"
    """The evidence is still collected."""
    PENDING = "pending"
    """People are to be notified with the next notice of the group."""
    HELD = "held"
    """Something keeps it back for now."""
    NOTIFIED = "told"

    @property
    def shown(self) -> str:
        """The word for people and programs."""
        return self.name.lower()


class Standing(_Record):
    """The state of notifying people of one incident, and the next notice about it."""

    incident_id: str
    series: SeriesRef
    value: float
    threshold: float | None = None
    sentence: str = ""
    signal: SignalWord = "alarm"
    labels: dict[str, str]
    severity: Severity
    state: AlertState = AlertState.FIRING
    """The incident's state when it last asked that people be notified."""
    crossing_ms: int | None = None
    """When the predicted crossing is due, if people are to be notified of nothing else."""
    since: AwareDatetime
    status: StandingStatus
    tell: Kind
    """The kind of the next notice, or of the last one."""
    announces: bool = False
    """Its next notice says that the series flaps."""
    note: str = ""
    ended: bool = False
    """The incident is over: the notice of that is the last one."""
    urgent: bool = False
    """Not to wait for the group's interval."""
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
    acknowledged: bool = False
    step: int = 0
    """Escalation steps taken."""
    traceparent: str = ""
    """The trace context of the signal that opened the incident."""
    history: Narrative = ()
    """The facts of notifying: what held it, what people were notified of, and what not."""

    @property
    def kind(self) -> Kind:
        """The kind of its next notice."""
        return "flapping" if self.announces else self.tell

    @property
    def known(self) -> bool:
        """Whether people heard of this very incident, not only that its series flaps."""
        return self.said not in {None, "flapping"}


class SeriesSeen(_Record):
    """A series that had an alert: what is remembered of a machine is found by it."""

    series: SeriesRef
    due: AwareDatetime


class Heard(_Record):
    """The notifications about an incident that is over, and those that were held."""

    incident_id: str
    history: Narrative
    due: AwareDatetime


class Flap(_Record):
    """A series that flaps: people are notified of that once, and once when it is calm."""

    key: str
    """The series', see ``series_key``."""
    incident_id: str
    """The newest of its incidents."""
    openings: int
    """How often it opened since it was last calm, as far back as is remembered."""
    since: AwareDatetime
    until: AwareDatetime
    """When it is calm if it does not open again."""
    hold_s: float
    """A firing that lasts longer than this is notified in spite of the flapping."""
    announced: bool = False
    ended: bool = False
    """People know that its newest incident is over."""
    thread_id: str = ""
    notices: int = 0
    """Notices about its newest incident."""


class Group(_Record):
    """When people were last notified of alerts of a group."""

    group: str
    told_at: AwareDatetime
    due: AwareDatetime


class Settling(_Record):
    """A summary that is sent, and how many of its rows are written down as notified."""

    message_id: str
    deliveries: int
    done: int = 0


class StormState(_Record):
    """Whether there is a storm, and of how many alerts people were notified lately."""

    name: str = "storm"
    recent: tuple[tuple[AwareDatetime, int], ...] = ()
    attached: tuple[tuple[AwareDatetime, int], ...] = ()
    since: AwareDatetime | None = None
    """Begin of the storm; None: there is none."""
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
    """The notice's."""
    thread: str
    """Deliveries of the same thread arrive in order."""
    channel: str
    recipient: str = ""
    status: DeliveryStatus = "pending"
    attempts: int = 0
    problem: str = ""
    holder: str = ""
    """Who is sending it, until ``due``."""
    asked: bool = False
    """The other side has asked to wait until ``due``."""
    traceparent: str = ""
    """The trace context of what the notice is about."""
    due: AwareDatetime


class Quota(_Record):
    """When a recipient was sent notices lately, and when the next digest is due."""

    recipient: str
    jobs: bool = False
    """Whether it counts notices about jobs: whoever submits many must not use up the alerts'."""
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
    """Since when a recipient of a channel cannot be reached; it ends with the next success."""

    recipient: str
    since: AwareDatetime
    announced: bool = False
    """Whether the other channels were notified."""


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


STANDINGS = Collection(
    "standings",
    Standing,
    key=lambda s: s.incident_id,
    group=lambda s: s.group,
    status=lambda s: s.status,
    due=lambda s: s.due,
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
CHANNEL_FAILURES = Collection("channel-failures", ChannelFailure, key=lambda f: f.recipient[:300])
SERIES_SEEN = Collection(
    "series-seen",
    SeriesSeen,
    key=lambda s: series_key(s.series),
    group=lambda s: s.series.host,
    due=lambda s: s.due,
)
