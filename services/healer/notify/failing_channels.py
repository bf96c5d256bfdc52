"""When a channel keeps failing, the other channels say so: an alarm must reach somebody."""

from __future__ import annotations

from datetime import timedelta

from services.healer.model.notice import Notice, Summary
from services.healer.model.notification import CHANNEL_FAILURES, ChannelFailure, Delivery
from services.healer.notify.compose import message_id
from services.healer.notify.dispatch import Dispatch
from services.healer.notify.render.numbers import one_line
from services.healer.notify.render.text import title
from shared.contracts.alerts import Severity
from shared.contracts.message import deterministic_id
from shared.service import Context

_REASON_SHOWN = 300


class FailingChannels:
    """Tells of a recipient that cannot be reached, once, and of every notice given up.

    Args:
        dispatch: where the notice about the channel goes; never to the channel itself.
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
        if delivery.status == "sent":
            ctx.records.delete(CHANNEL_FAILURES, recipient[:300])
            return
        about_channel = isinstance(notice, Summary) and notice.kind == "channel"
        failure = ctx.records.get(CHANNEL_FAILURES, recipient[:300])
        failure = failure or ChannelFailure(recipient=recipient, since=ctx.now)
        refused = delivery.status == "refused"
        due = ctx.now - failure.since >= self._after
        if not failure.announced and (due or refused) and not about_channel:
            say = self._given_up if refused else self._out_of_reach
            self._tell(channel, *say(failure, delivery, notice), ctx)
            failure = failure.model_copy(update={"announced": True})
        ctx.records.put(CHANNEL_FAILURES, failure)

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
        channel: str,
        about: str,
        headline: str,
        sentences: tuple[str, ...],
        ctx: Context,
    ) -> None:
        notice = Summary(
            message_id=message_id(about, 1),
            kind="channel",
            severity=Severity.CRITICAL,
            headline=headline,
            sentences=sentences,
            at=ctx.now,
        )
        self._dispatch.put(notice, ctx, without=channel)
