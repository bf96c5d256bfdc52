"""Answering questions: what this replica's settings are, and what its partitions' models know."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from typing import Any

import structlog

from shared.contracts import Message, Question, SettingsAnswered, SettingsAsk
from shared.contracts.questions import ANSWERED_WITHIN_S
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

    def handlers(self) -> dict[type[Message], Handler]:
        """A function for each question that this replica may be able to answer."""
        return {SettingsAsk: self._settings_asked} | dict.fromkeys(self._answers, self._asked)

    def _settings_asked(self, question: SettingsAsk, ctx: Context) -> Iterable[Message]:
        if question.waits(ctx.now):
            yield SettingsAnswered(
                request_id=question.request_id,
                service=self._service,
                instance=self._settings.instance,
                settings=self._settings.shown(),
            )

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
            # A question that nobody foresaw costs its own answer, and the models nothing.
            log.exception("question_not_answered")
        else:
            if found is not None:
                yield found
