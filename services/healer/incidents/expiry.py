"""Work that is due at its time: missing answers, ended signals, records to delete.

It is worked off in transactions of a few records each. So a crash repeats a few, nobody waits for
thousands, and of a batch that fails every record is tried alone: one that cannot be handled keeps
back no other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.healer.actions import leases
from services.healer.incidents.clock_steps import ClockSteps
from services.healer.incidents.forgetting import forget_what_is_due
from services.healer.incidents.lifecycle import Lifecycle
from services.healer.jobs.notices import JobNotices
from services.healer.model.action import ACTIONS, OPEN_ACTIONS
from services.healer.model.incident import INCIDENTS
from services.healer.notify import passes
from services.healer.notify.undeliverable import Undeliverable
from shared.contracts import Message
from shared.contracts.healing import ActionState
from shared.service import Context
from shared.unavailable import Unavailable

_AT_ONCE = 50


@dataclass(frozen=True)
class Batch:
    """The work on a few records, for one transaction."""

    work: Callable[[str, Context], Iterable[Message]]
    keys: tuple[str, ...] = ("",)

    def __call__(self, ctx: Context) -> list[Message]:
        """Do the work, and return the messages that follow."""
        return [message for key in self.keys for message in self.work(key, ctx)]

    def singles(self) -> Iterator[Batch]:
        """The same work in batches of one record each."""
        return (Batch(self.work, (key,)) for key in self.keys)


class Expiry:
    """The work that is due at its time."""

    def __init__(
        self,
        clock_steps: ClockSteps,
        lifecycle: Lifecycle,
        jobs: JobNotices,
        undeliverable: Undeliverable,
        keep: timedelta,
    ) -> None:
        self._clock_steps = clock_steps
        self._lifecycle = lifecycle
        self._jobs = jobs
        self._undeliverable = undeliverable
        self._keep = keep
        self.clock = Batch(self._follow_the_clock)
        """The work that comes first, as it moves the times at which the rest is due."""

    def batches(self, ctx: Context) -> list[Batch]:
        """Return what is due now."""
        incidents = ctx.records.find(INCIDENTS, due_before=ctx.now)
        actions = ctx.records.find(ACTIONS, due_before=ctx.now)
        return [
            *_batches(self._incident, [incident.incident_id for incident in incidents]),
            *_batches(self._action, [action.action_id for action in actions]),
            Batch(self._expired_jobs),
            Batch(self._forget),
        ]

    def _follow_the_clock(self, _key: str, ctx: Context) -> Iterable[Message]:
        self._clock_steps.follow(ctx)
        leases.end_overdue(ctx)
        return ()

    def _incident(self, incident_id: str, ctx: Context) -> Iterable[Message]:
        incident = ctx.records.get(INCIDENTS, incident_id)
        if incident is None or not _is_due(incident.due, ctx):
            return ()  # a message has come in the meantime
        return self._lifecycle.overdue(incident, ctx)

    def _action(self, action_id: str, ctx: Context) -> Iterable[Message]:
        action = ctx.records.get(ACTIONS, action_id)
        if action is None or not _is_due(action.due, ctx):
            return ()
        if action.state is ActionState.PROPOSED:
            return self._lifecycle.handling.expired(action, ctx)
        if action.state not in OPEN_ACTIONS:
            ctx.records.delete(ACTIONS, action.action_id)
        return ()

    def _expired_jobs(self, _key: str, ctx: Context) -> Iterable[Message]:
        self._jobs.expire(ctx)
        return ()

    def _forget(self, _key: str, ctx: Context) -> Iterable[Message]:
        forget_what_is_due(self._keep, ctx)
        self._undeliverable.give_up(ctx)
        return ()


def work_off(batches: Iterable[Batch], transaction: Callable[[Batch], None]) -> None:
    """Do each batch in a transaction of its own; of one that fails, each record.

    Raises:
        Unavailable: at once, because all others would fail as well.
        Exception: the first failure, after all have been tried.
    """

    def careful(batch: Batch) -> None:
        try:
            transaction(batch)
        except Unavailable:
            raise
        except Exception:
            if len(batch.keys) == 1:
                raise
            passes.make(batch.singles(), transaction)

    passes.make(batches, careful)


def _is_due(due: datetime | None, ctx: Context) -> bool:
    return due is not None and due <= ctx.now


def _batches(
    work: Callable[[str, Context], Iterable[Message]], keys: Sequence[str]
) -> Iterator[Batch]:
    return (Batch(work, (*keys[n : n + _AT_ONCE],)) for n in range(0, len(keys), _AT_ONCE))
