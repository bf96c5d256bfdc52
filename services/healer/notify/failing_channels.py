"""Reports a failing channel through the other channels."""

from __future__ import annotations

from datetime import timedelta

from services.healer.model.notice import Notice, Summary
from services.healer.model.notification import CHANNEL_FAILURES, ChannelFailure, Delivery
from services.healer.notify.compose import message_id
from services.healer.notify.dispatch import Dispatch
from services.healer.notify.render.numbers import one_line
from services.healer.notify.render.title import title
from shared.changes import changed
from shared.contracts.alerts import Severity
from shared.contracts.message import deterministic_id
from shared.service import Context

_REASON_SHOWN = 300


class FailingChannels:
    """Reports once that a recipient cannot be reached, and every notification given up.

    Args:
        dispatch: where the notice about the channel goes; never to who cannot take it.
        after: how long a recipient may be out of reach before the others are notified.
    """

    def __init__(self, dispatch: Dispatch, after: timedelta) -> None:
        self._dispatch = dispatch
        self._after = after

    def tried(
        self, channel: str, delivery: Delivery, notice: Notice | Summary, ctx: Context
    ) -> None:
        """A delivery was tried; its status says what came of it."""
        recipient = f"{channel} {delivery.recipient}".strip()
        failure = ctx.records.get(CHANNEL_FAILURES, recipient)
        if delivery.status == "sent":
            ctx.records.delete(CHANNEL_FAILURES, recipient)
            if failure is not None and failure.away:
                self._tell(channel, *_back(failure, ctx), ctx, Severity.INFO)
            return
        about_channel = isinstance(notice, Summary) and notice.kind == "channel"
        failure = failure or ChannelFailure(recipient=recipient, since=ctx.now)
        refused = delivery.status == "refused"
        due = ctx.now - failure.since >= self._after
        failure = changed(failure, problem=one_line(delivery.problem, _REASON_SHOWN))
        if refused and not failure.announced and not about_channel:
            # The channel's other recipients may take what this one does not.
            self._tell(recipient, *self._given_up(failure, delivery, notice), ctx)
            failure = changed(failure, announced=True)
        elif due and not refused and not failure.away and not about_channel:
            self._tell(channel, *self._out_of_reach(failure, delivery, notice), ctx)
            failure = changed(failure, announced=True, away=True)
        ctx.records.put(CHANNEL_FAILURES, changed(failure, refused=refused or failure.refused))

    def _out_of_reach(
        self, failure: ChannelFailure, delivery: Delivery, notice: Notice | Summary
    ) -> tuple[str, str, tuple[str, ...]]:
        return (
            deterministic_id("out of reach", failure.recipient, failure.since.isoformat()),
            f"{failure.recipient} cannot be reached",
            (
                f"No notice has reached it since {failure.since:%Y-%m-%d %H:%M} UTC.",
                "What waits is sent when it can be reached again.",
                f"The first that waits: {title(notice)}",
                f"The last answer: {one_line(delivery.problem, _REASON_SHOWN)}",
            ),
        )

    def _given_up(
        self, failure: ChannelFailure, delivery: Delivery, notice: Notice | Summary
    ) -> tuple[str, str, tuple[str, ...]]:
        return (
            deterministic_id("given up", delivery.delivery_id),
            f"{failure.recipient} did not take a notice",
            (
                f"{failure.recipient} will not take this notice: {title(notice)}",
                f"Its answer: {one_line(delivery.problem, _REASON_SHOWN)}",
                "Nothing more is said of it until it has taken a notice again.",
            ),
        )

    def _tell(
        self,
        without: str,
        about: str,
        headline: str,
        sentences: tuple[str, ...],
        ctx: Context,
        severity: Severity = Severity.CRITICAL,
    ) -> None:
        notice = Summary(
            message_id=message_id(about, 1),
            kind="channel",
            severity=severity,
            headline=headline,
            sentences=sentences,
            at=ctx.now,
        )
        self._dispatch.put_somewhere(notice, ctx, without)


def _back(failure: ChannelFailure, ctx: Context) -> tuple[str, str, tuple[str, ...]]:
    """The id and text of the notification that a channel is reachable again."""
    return (
        deterministic_id("back", failure.recipient, failure.since.isoformat()),
        f"{failure.recipient} can be reached again",
        (
            f"No notice had reached it since {failure.since:%Y-%m-%d %H:%M} UTC.",
            f"It took one at {ctx.now:%Y-%m-%d %H:%M} UTC; what waited for it is being sent.",
            "No action is needed.",
        ),
    )
