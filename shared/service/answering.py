"""Answers questions about this replica's settings and its partitions' models."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import structlog

from shared.contracts import (
    DeadLettersAnswered,
    DeadLettersAsk,
    Message,
    Question,
    SettingsAnswered,
    SettingsAsk,
)
from shared.contracts.questions import ANSWERED_WITHIN_S
from shared.messaging.depth import DeadLetterDepth
from shared.service.context import Context, Handler
from shared.service.partitions import PartitionOwner
from shared.settings import ServiceSettings
from shared.topology import partition_of

log = structlog.get_logger(__name__)

Answer = Callable[[Any, Any], Message | None]
"""``(question, partition worker) -> answer``, between two batches: it may change nothing."""


class Answering:
    """The handlers of a replica's questions.

    What does not know its answer in time stays silent, as does a question that comes too late:
    nobody waits for either, and a model's work goes first.
    """

    def __init__(
        self,
        service: str,
        settings: ServiceSettings,
        owners: Sequence[PartitionOwner],
        answers: Mapping[type[Question], Answer],
    ) -> None:
        self._service = service
        self._settings = settings
        self._owners = owners
        self._answers = answers
        self.depth: DeadLetterDepth | None = None
        """The count of the service's dead letters, once it has started and if it has any queues."""

    @property
    def dead_letters(self) -> Mapping[str, int]:
        """The broker's last answer."""
        return self.depth.counts if self.depth is not None else {}

    def handlers(self) -> dict[type[Message], Handler]:
        """The handlers of the questions that this replica can answer."""
        own: dict[type[Message], Handler] = {
            SettingsAsk: self._settings_asked,
            DeadLettersAsk: self._dead_letters_asked,
        }
        return own | dict.fromkeys(self._answers, self._asked)

    def _settings_asked(self, question: SettingsAsk, ctx: Context) -> Iterable[Message]:
        if question.waits(ctx.now):
            yield SettingsAnswered(
                request_id=question.request_id,
                service=self._service,
                instance=self._settings.instance,
                settings=self._settings.shown(),
            )

    def _dead_letters_asked(self, question: DeadLettersAsk, ctx: Context) -> Iterable[Message]:
        if question.waits(ctx.now):
            counts = dict(self.dead_letters)
            yield DeadLettersAnswered(request_id=question.request_id, queues=counts)

    def _asked(self, question: Question, ctx: Context) -> Iterable[Message]:
        if not question.waits(ctx.now):
            return
        machine, owners = question.machine(), self._owners
        if machine and owners:  # a detector that is a gateway alone has none
            owners = [owners[partition_of(machine, len(owners))]]
        answer: Callable[[Any], Any] = partial(self._answers[type(question)], question)
        try:
            looking = [owner.look(answer) for owner in owners if owner.owned]
        except RuntimeError:
            return  # the partitions are being handed over: this replica stops
        yield from _in_time(looking)


def _in_time(looking: Sequence[Future[Message | None]]) -> Iterator[Message]:
    deadline = time.monotonic() + ANSWERED_WITHIN_S
    for future in looking:
        try:
            found = future.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            future.cancel()
        except Exception:
            # An unexpected error costs only this answer.
            log.exception("question_not_answered")
        else:
            if found is not None:
                yield found
