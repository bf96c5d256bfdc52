"""Answers ``item.read``: one series, read now."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import datetime

from services.healer.agent.apart import Apart, HangsError
from services.healer.agent.records import Command
from services.healer.agent.samplers import Sampler
from shared.contracts.alerts import SeriesRef
from shared.contracts.remediation import ItemObserved, ItemRead

_SPAN_S = 1.0
_MAX_ATTEMPTS = 3
_HANGS_S = 25.0
"""The longest that reading an item may take: other commands must not wait for it."""


class Reader:
    """Reads a series with samplers of its own, so that the published rates are not disturbed."""

    def __init__(
        self,
        makers: Sequence[Callable[[], Sampler]],
        clock: Callable[[], datetime],
        stopping: Callable[[], threading.Event],
    ) -> None:
        self._makers = makers
        self._clock = clock
        self._stopping = stopping
        self._apart = Apart()

    def perform(self, command: Command) -> ItemObserved:
        """The value now, or None and the reason."""
        message = ItemRead.model_validate_json(command.body)
        if command.attempts > _MAX_ATTEMPTS:
            value, detail = None, f"given up after {_MAX_ATTEMPTS} attempts"
        else:
            value, detail = self.read(message.series)
        return ItemObserved(
            command_id=message.command_id,
            incident_id=message.incident_id,
            series=message.series,
            value=value,
            detail=detail,
            at=self._clock(),
        )

    def read(self, series: SeriesRef) -> tuple[float | None, str]:
        """The value and '', or None and why there is none."""
        reasons = []
        for make in self._makers:
            sampler = make()
            if series.item not in sampler.items:
                continue
            if sampler.is_rate:
                self._stopping().wait(_SPAN_S)
            try:
                readings = self._apart.call(type(sampler).__name__, sampler.sample, _HANGS_S)
            except (HangsError, OSError, ValueError, RuntimeError) as error:
                reasons.append(str(error))
                continue
            for reading in readings:
                if reading.item == series.item and dict(reading.labels) == series.labels:
                    return reading.value, ""
        return None, "; ".join(reasons) or f"this machine has no {series.text()}"
