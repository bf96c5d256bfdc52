"""Judges one partition: batches of samples in, anomaly events out, all state in columns.

A batch is put through: counters and node_exporter series become item points; points are sorted
by series and time; then one vectorised step judges the first point of every series, the next one
the second, and so on. Deterministic: the same batches give the same events with the same ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from services.detector.alignment import Alignment
from services.detector.combination import Verdict
from services.detector.curves import Curves
from services.detector.detectors import Tick, Votes, make
from services.detector.ended_series import EndedSeries
from services.detector.labels import Labels, parsed, point_of
from services.detector.limits import Limits
from services.detector.liveness import Liveness
from services.detector.notices import Lasting, Notices
from services.detector.recent import Recent
from services.detector.rhythm import Rhythm
from services.detector.settings import EngineSettings
from services.detector.stages import Stages
from services.detector.startup import Startup
from services.detector.turns import Counts, in_order, in_turns
from services.detector.verdicts import ALARM, ANOMALY, Judgement, Writer
from shared.columns import Array, Columns, as_rows, part_of
from shared.contracts import AnomalyJudged, Message
from shared.derivation import Deriver
from shared.samples import SampleBatch
from shared.series import SeriesIndex
from shared.series_left import left, patience_ms

log = structlog.get_logger(__name__)

_THRESHOLD = "threshold"


class _Seen(NamedTuple):
    """A tick as the detectors judged it."""

    tick: Tick
    votes: Mapping[str, Votes]
    verdict: Verdict
    kinds: NDArray[np.int8]
    stages: NDArray[np.int8]


class Engine:
    """All series of one partition."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._deriver = Deriver(settings.max_series)
        self._series = SeriesIndex(settings.max_series)
        names = (*settings.combination.voters(), _THRESHOLD)
        self._detectors = {name: make(name, settings.detectors.get(name, {})) for name in names}
        step_ms = None if settings.step_s is None else round(settings.step_s * 1000)
        self._alignment = Alignment(step_ms, settings.tolerated_gap)
        self._rhythm = Rhythm(settings.periodicity)
        self._recent = Recent(settings.recent_points)
        self._anomalies = Notices(Lasting(settings.confirming), Lasting(settings.clear_points))
        self._alarms = self._new_alarms()
        self._startup = Startup(round(settings.startup_s * 1000))
        self._liveness = Liveness(
            round(settings.silent_after_s * 1000),
            round(settings.max_clock_step_s * 1000),
            settings.max_series,
        )
        self._ended_series = EndedSeries(
            round(settings.series_ended_after_s * 1000),
            round(settings.silent_after_s * 1000),
            self._liveness,
            self._recent,
            self._alignment.state,
            {ANOMALY: self._anomalies, ALARM: self._alarms},
        )
        self._limits = Limits(
            settings.overrides,
            settings.calendar(),
            settings.alarm_confirm_s,
            settings.burst_confirm_s,
        )
        self._stages = Stages()
        self._labels = Labels()
        self._states = {name: Columns(d.columns()) for name, d in self._detectors.items()}
        self._writer = Writer(self._series, self._detectors, self._recent)
        self.counts = Counts()

    def _new_alarms(self) -> Notices:
        settings = self._settings
        return Notices(
            Lasting(1, round(settings.alarm_confirm_s * 1000)),
            Lasting(1, round(settings.alarm_clear_s * 1000)),
        )

    @property
    def curves(self) -> Curves:
        """A view of the state for pages, which cannot change it."""
        return Curves(
            self._series,
            self._detectors,
            self._states,
            self._recent,
            self._alignment.state,
            self._limits,
            self._new_alarms,
        )

    @property
    def series(self) -> int:
        """Series known."""
        return len(self._series)

    @property
    def bytes_per_series(self) -> int:
        """Columnar state a series takes."""
        parts = (self._limits.state, *self._columns().values())
        return sum(columns.bytes_per_series for columns in parts)

    def process(self, batch: SampleBatch) -> list[Message]:
        """Take in a batch; what is to be published because of it."""
        events: list[Message] = []
        for label in parsed(batch.judged):
            self._judged(label)
        before_ms = self._liveness.running_ms
        newest = int(batch.time_ms.max()) if len(batch) else -1
        newest = max(newest, batch.clock_ms if batch.clock_ms is not None else -1)
        if newest >= 0:
            changes = self._liveness.observe(batch, newest)
            events += [self._writer.silence(change) for change in changes]
        beyond = self._deriver.beyond
        points = self._deriver.apply(batch)
        self.counts.invalid += self._deriver.beyond - beyond
        if len(points):
            for tick in self._ticks(points):
                events += self._step(tick)
        events += self._ended_series.ends(before_ms, self._series.names, self._writer)
        self._forget(before_ms)
        return events

    def _forget(self, before_ms: int) -> None:
        """Forget series that have sent nothing for long, but for those that people know of."""
        now_ms, size = self._liveness.running_ms, len(self._series)
        used = max(size, len(self._deriver))
        patience = patience_ms(before_ms, now_ms, used, self._settings.max_series)
        if patience is None:
            return
        self._deriver.forget(self._liveness.clock_ms - patience)
        known = self._anomalies.state["open"] | self._alarms.state["open"] | self._labels.any
        heard = self._ended_series.state["heard_ms"][:size]
        rows = left(heard, known[:size], now_ms, patience)
        if rows is None:
            return
        log.info("series_forgotten", series=size - len(rows), left=len(rows))
        self._series.keep(rows)
        for columns in (*self._columns().values(), self._limits.state):
            columns.keep(rows)

    def _judged(self, label: AnomalyJudged) -> None:
        row = int(self._series.resolve(point_of(label))[0])
        self._register()
        if row >= 0:
            self._labels.take(row, label)

    def _ticks(self, points: SampleBatch) -> Iterator[Tick]:
        """One tick for the first new point of every series, one for the second, and so on."""
        rows = self._series.resolve(points)
        self._register()
        taken = np.flatnonzero(rows >= 0)
        if len(taken) < len(rows):
            self.counts.refused += len(rows) - len(taken)
            points, rows = points.select(taken), rows[taken]
        self._startup.agents(points, rows)
        newest_ms = self._alignment.state["last_ms"][rows]
        new = in_order((rows, points.time_ms, points.value), newest_ms, self.counts)
        for turn in in_turns(new):
            yield self._tick(*turn)

    def _tick(
        self, rows: NDArray[np.int64], times: NDArray[np.int64], values: NDArray[np.float64]
    ) -> Tick:
        where = as_rows(rows)
        limits = self._limits.state
        with np.errstate(invalid="ignore"):
            invalid = (values < limits["least"][where]) | (values > limits["most"][where])
        if invalid.any():
            self.counts.invalid += int(invalid.sum())
            values = np.where(invalid, np.nan, values)
        # A point without a value takes no part in the series' steps: it is a missing one.
        known = ~np.isnan(values)
        missing = np.zeros(len(values), dtype=np.int32)
        broken = np.zeros(len(values), dtype=np.bool_)
        if known.all():
            missing, broken = self._alignment.advance(where, times)
        else:
            missing[known], broken[known] = self._alignment.advance(rows[known], times[known])
        local, holiday = self._limits.calendars.look(limits["calendar"][where], times)
        return Tick(
            where,
            times,
            values,
            missing,
            broken,
            limits["limit"][where],
            limits["above"][where],
            local,
            holiday,
            limits["floor"][where],
            limits["budget"][where],
        )

    def _step(self, tick: Tick) -> Iterable[Message]:
        rows = tick.rows
        votes = {
            name: detector.step(self._states[name], tick)
            for name, detector in self._detectors.items()
        }
        kinds = self._rhythm.kinds(rows).copy()
        verdict = self._settings.combination.decide(votes, kinds)
        self._rhythm.add(rows, tick.local_ms, tick.values)
        self._recent.add(rows, tick.time_ms, tick.values)
        self._ended_series.heard(rows, tick.time_ms, tick.values)
        stale = tick.time_ms < self._liveness.clock_ms - self._settings.stale_after_s * 1000
        current = ~stale
        limits = self._limits.state
        new_series, new_agent = self._startup.step(rows, tick.time_ms)
        settled = verdict.judged & ~new_series & ~new_agent
        judged = settled & current & ~limits["muted"][rows]
        self._count(judged, stale)
        coarse = self._settings.combination.coarse(votes, kinds)
        stages = self._stages.step(rows, settled, coarse)
        seen = _Seen(tick, votes, verdict, kinds, stages)
        return [
            *self._anomaly_changes(seen, judged),
            *self._alarm_changes(seen, current & ~(new_agent & limits["bursts"][rows])),
        ]

    def _anomaly_changes(self, seen: _Seen, judged: NDArray[np.bool_]) -> Iterator[Message]:
        """The anomalies that begin or end with this tick, by all voters together."""
        tick, verdict, rows = seen.tick, seen.verdict, seen.tick.rows
        excused = self._labels.excused(rows, tick.values, verdict.direction)
        wanted = self._limits.state["wanted"][rows]
        unwanted = (wanted != 0) & (verdict.direction != wanted)
        anomalous = verdict.anomalous & ~excused & ~unwanted
        changes = self._anomalies.step(rows, tick.time_ms, judged, anomalous)
        combination = self._settings.combination
        voters = {name: seen.votes[name] for name in combination.voters()}
        judgement = Judgement(
            tick, voters, seen.kinds, seen.stages, verdict.direction, combination.deciding
        )
        yield from self._writer.changes(changes, self._anomalies, judgement)

    def _alarm_changes(self, seen: _Seen, current: NDArray[np.bool_]) -> Iterator[Message]:
        """The alarms that begin or end with this tick: by the threshold alone, once confirmed."""
        tick, alarm = seen.tick, seen.votes[_THRESHOLD]
        changes = self._alarms.step(
            tick.rows,
            tick.time_ms,
            alarm.judged & current,
            alarm.anomalous,
            self._limits.state["confirm_s"][tick.rows] * 1000,
        )
        by = {_THRESHOLD: alarm}
        judgement = Judgement(
            tick, by, seen.kinds, seen.stages, alarm.direction, lambda _: (_THRESHOLD,)
        )
        yield from self._writer.alarm_changes(changes, self._alarms, judgement)

    def stages(self) -> dict[str, int]:
        """Return how many series are judged by how much history of their own."""
        return self._stages.counts()

    def _count(self, judged: NDArray[np.bool_], stale: NDArray[np.bool_]) -> None:
        self.counts.judged += int(judged.sum())
        self.counts.not_judged += int((~judged).sum())
        self.counts.stale += int(stale.sum())

    def _register(self) -> None:
        size = len(self._series)
        if size == self._limits.state.size:
            return
        for columns in self._columns().values():
            columns.grow(size)
        self._limits.grow(self._series.names)

    def _columns(self) -> dict[str, Columns]:
        return {
            "alignment": self._alignment.state,
            "rhythm": self._rhythm.state,
            "recent": self._recent.state,
            "anomalies": self._anomalies.state,
            "alarms": self._alarms.state,
            # Like a detector's, these states may begin again where a snapshot has none.
            "detector.ended_series": self._ended_series.state,
            "detector.labels": self._labels.state,
            "detector.stages": self._stages.state,
            "detector.startup": self._startup.state,
            **{f"detector.{name}": state for name, state in self._states.items()},
        }

    def snapshot(self) -> dict[str, Array]:
        """The whole state as named arrays."""
        parts: dict[str, Mapping[str, Array]] = {
            "deriver": self._deriver.snapshot(),
            "series": self._series.snapshot(),
            "liveness": self._liveness.snapshot(),
            **{name: columns.snapshot() for name, columns in self._columns().items()},
        }
        return {f"{part}/{key}": a for part, all_ in parts.items() for key, a in all_.items()}

    def restore(self, arrays: Mapping[str, Array]) -> None:
        """Take the state of a snapshot; only into a new engine.

        A detector whose settings changed its columns begins again; anything else that does not
        fit is a ValueError or KeyError, and the engine must not be used then.
        """
        most = self._settings.max_series
        self._deriver = Deriver.restored(part_of(arrays, "deriver/"), most)
        self._series = SeriesIndex.restored(part_of(arrays, "series/"), most)
        self._liveness.restore(part_of(arrays, "liveness/"))
        self._writer = Writer(self._series, self._detectors, self._recent)
        size = len(self._series)
        for name, columns in self._columns().items():
            try:
                columns.restore(part_of(arrays, f"{name}/"), size)
            except ValueError as error:
                if not name.startswith("detector."):
                    raise
                log.warning("detector_starts_anew", detector=name, reason=str(error)[:500])
                columns.grow(size)
        self._limits.grow(self._series.names)
