"""The base of every channel: what it accepts, how it sends, how it may fail."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from email.utils import parseaddr
from typing import ClassVar, TypeVar
from urllib.parse import urlsplit

from jinja2 import TemplateError
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import SandboxedEnvironment
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    SerializerFunctionWrapHandler,
    ValidationError,
    field_validator,
    model_serializer,
)

from services.healer.model.notice import ENDINGS, Kind, Line, Notice, Summary
from services.healer.model.policy import RANK
from services.healer.notify.links import LinkMaker
from services.healer.notify.matchers import Matchers, all_match
from services.healer.notify.render.numbers import one_line
from services.healer.notify.render.text import plain
from services.healer.notify.render.title import title
from shared import setting_names
from shared.changes import with_changes
from shared.contracts.alerts import Severity
from shared.registry import Registry

_TEMPLATES = SandboxedEnvironment(autoescape=False)
_VARIABLES = frozenset({"notice", "title", "text", "lines", "why"})
_FAULTS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)
"""The errors that a template's expressions can raise: ``'{}'.format()`` is an ``IndexError``."""


@dataclass(frozen=True)
class Tools:
    """The resources that a channel needs to send."""

    smtp_url: str = ""
    mail_from: str = ""
    page_url: str = ""
    links: LinkMaker | None = None


class Channel(BaseModel):
    """One configured way to notify people.

    Whoever receives must know a repetition by its id (a mail's Message-ID, ``Idempotency-Key``,
    PagerDuty's ``dedup_key``): after a crash in the moment of sending it may come again.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    TYPE: ClassVar[str] = ""
    LIMITED: ClassVar[bool] = False
    """True if each recipient has an hourly limit, above which notices are combined into a
    digest."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="The channel's unique name."
    )
    only: Matchers = Field(
        default=(),
        description="Matchers of labels; only alerts that match all of them are sent here.",
    )
    min_severity: Severity = Field(
        default=Severity.INFO, description="Alerts of a lower severity are not sent here."
    )
    kinds: frozenset[Kind] | None = Field(
        default=None, description="The kinds of notification that are sent here; null: all."
    )
    resolved: bool = Field(default=True, description="true: resolved alerts are sent here, too.")
    canary: bool = Field(
        default=False, description="true: complete rounds of the canary are sent here."
    )
    jobs: bool = Field(
        default=False,
        description="true: jobs may name this channel, or the addresses of a mail channel.",
    )
    escalation_only: bool = Field(
        default=False, description="true: only escalations are sent here."
    )
    title_template: str = Field(
        default="",
        max_length=2000,
        description="A Jinja template that replaces the default text.",
    )
    text_template: str = Field(
        default="",
        max_length=20_000,
        description="A Jinja template that replaces the default text.",
    )

    @field_validator("title_template", "text_template")
    @classmethod
    def _parses(cls, value: str) -> str:
        try:
            unknown = find_undeclared_variables(_TEMPLATES.parse(value))
        except TemplateError as error:
            msg = f"not a usable template: {error}"
            raise ValueError(msg) from error
        if unknown := unknown - _VARIABLES - set(_TEMPLATES.globals):
            old = "; `told` is called `notice`" if "told" in unknown else ""
            names = ", ".join(sorted(unknown))
            msg = f"unknown in a template: {names}{old} (known: {', '.join(sorted(_VARIABLES))})"
            raise ValueError(msg)
        return value

    @model_serializer(mode="wrap")
    def _with_type(self, fields: SerializerFunctionWrapHandler) -> dict[str, object]:
        """The channel as one configures it, for whoever is shown the settings."""
        return {"type": self.TYPE, **fields(self)}

    def recipients(self) -> tuple[str, ...]:
        """The recipients: each gets its own delivery, with its own retries."""
        return ("",)

    def for_job(self, target: str) -> tuple[str, ...]:
        """The recipients whom a job means with ``target``, if it may name this channel."""
        return self.named(target) if self.jobs else ()

    def named(self, target: str) -> tuple[str, ...]:
        """The recipients that ``target`` means, ``mail:ADDRESS`` or a channel's name."""
        if target == self.name:
            return self.recipients()
        wanted = target.removeprefix("mail:").lower()
        mail = target.startswith("mail:") and self.TYPE == "mail"
        return tuple(r for r in self.recipients() if mail and parseaddr(r)[1].lower() == wanted)

    def wants(self, notice: Notice | Summary) -> bool:
        """Return whether the notice is about anything that concerns this channel."""
        if isinstance(notice, Summary) and notice.kind == "canary":
            return self.canary
        if isinstance(notice, Summary):
            return not self.escalation_only and RANK[notice.severity] >= RANK[self.min_severity]
        return not self.escalation_only and any(map(self.concerns, notice.lines()))

    def concerns(self, row: Line) -> bool:
        """Return whether this alert by itself would be sent here."""
        return (
            all_match(self.only, row.labels)
            and RANK[row.severity] >= RANK[self.min_severity]
            and (self.kinds is None or row.kind in self.kinds)
            and (self.resolved or row.kind not in ENDINGS)
        )

    def part_of(self, notice: Notice | Summary) -> Notice | Summary:
        """The notice without the further alerts of its group that concern others only.

        Its first alert stays: the notice is about it, also where an escalation sends it here.
        """
        if isinstance(notice, Summary):
            return notice
        also = tuple(row for row in notice.also if self.concerns(row))
        return notice if len(also) == len(notice.also) else with_changes(notice, also=also)

    def takes(self, notice: Notice | Summary) -> bool:
        """Return whether a channel called by an escalation accepts later notifications of it."""
        return self.resolved or notice.kind not in ENDINGS

    def title(self, notice: Notice | Summary) -> str:
        """One line, by the template if there is one."""
        return one_line(self._rendered(self.title_template, notice) or title(notice))

    def text(self, notice: Notice | Summary) -> str:
        """Several lines, by the template if there is one."""
        return self._rendered(self.text_template, notice) or plain(notice, why=self.why(notice))

    def why(self, notice: Notice | Summary) -> str:
        """Return why this channel's readers get it: the policy's rule and the channel's filter."""
        matchers = ", ".join(matcher.text() for matcher in self.only)
        taken = f"alerts that match {matchers}" if matchers else "every alert"
        least = "" if self.min_severity is Severity.INFO else f" from {self.min_severity} on"
        if isinstance(notice, Summary) and notice.kind == "job":
            return f"the job, or a rule about jobs, names channel {self.name}."
        if isinstance(notice, Summary):
            return f"channel {self.name} takes {taken}{least}."
        reason = f"channel {self.name} takes {taken}{least}"
        if notice.kind == "unanswered":
            reason = f"channel {self.name} is a step of the escalation, and nobody has answered"
        return f"{notice.rule}; {reason}." if notice.rule else f"{reason}."

    @abstractmethod
    def send(self, notice: Notice | Summary, recipient: str, tools: Tools) -> None:
        """Hand it over; returns when the other side has it.

        Raises:
            ChannelUnavailable: try again later.
            ChannelRefused: never try again.
        """

    def _rendered(self, template: str, notice: Notice | Summary) -> str:
        if not template:
            return ""
        values = {
            "notice": notice,
            "title": title(notice),
            "text": plain(notice),
            "lines": notice.lines(),
            "why": self.why(notice),
        }
        try:
            return _TEMPLATES.from_string(template).render(values)
        except _FAULTS as error:
            # The notice must arrive even if its dress does not fit.
            return f"{title(notice)} (template of {self.name}: {one_line(str(error), 100)})"


C = TypeVar("C", bound=type[Channel])
REGISTRY: Registry[type[Channel]] = Registry(
    "channel", "services.healer.notify.channels", "barograph.channels"
)


def channel(cls: C) -> C:
    """Register a channel class under its TYPE; two of one type are an error."""
    REGISTRY.add(cls.TYPE, cls)
    return cls


def registered() -> dict[str, type[Channel]]:
    """Every channel class by its type."""
    return REGISTRY.all()


def parse(configured: object) -> tuple[Channel, ...]:
    """Channels from their settings, a list of objects with ``type``.

    Raises:
        ValueError: naming every fault.
    """
    if not isinstance(configured, list):
        raise ValueError("must be a list of channels")  # noqa: TRY004 - pydantic wants it
    known = registered()
    found, faults = [], []
    for number, each in enumerate(configured):
        values = dict(each) if isinstance(each, dict) else {}
        kind = known.get(str(values.pop("type", "")))
        if kind is None:
            faults.append(f"{number}.type: must be one of {', '.join(known)}")
            continue
        try:
            found.append(kind.model_validate(values))
        except ValidationError as error:
            faults += [f"{number}.{each}" for each in setting_names.faults(kind, error)]
    names = [each.name for each in found]
    faults += [
        f"two channels are named {n}" for n in sorted({n for n in names if names.count(n) > 1})
    ]
    if faults:
        raise ValueError("; ".join(faults))
    return tuple(found)


def http_address(value: SecretStr) -> SecretStr:
    """The address, if it is one for HTTP; ValueError otherwise."""
    url = value.get_secret_value()
    if not url.isprintable() or " " in url or not _has_host(url):
        msg = "must be an http:// or https:// address"
        raise ValueError(msg)
    return value


def _has_host(url: str) -> bool:
    try:
        place = urlsplit(url)
        return place.scheme in {"http", "https"} and bool(place.hostname) and place.port != 0
    except ValueError:
        return False
