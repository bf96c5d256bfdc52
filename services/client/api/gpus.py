"""The GPUs of a job on its page; the detector is asked for their series a few times a minute."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import takewhile

import structlog

from services.client.description import Description
from services.client.gpu_plot import Gpu, gpus_of, idle, plots
from services.client.questions import Questions, TooManyQuestions
from services.client.records import ENDED
from services.client.usage_plot import UsagePlot
from shared.contracts.alerts import Point
from shared.messaging import BrokerUnavailable

_FRESH_S, _WITHIN_S = 15.0, 3.0
_MAX_JOBS, _MAX_SERIES, _MAX_LABEL_CHARS = 100, 500, 200
_PREFIX = "DCGM_FI_"
log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class GpuUse:
    """The use of a job's GPUs; empty if it requested none or nobody measures them."""

    plots: Sequence[UsagePlot] = ()
    idle: str = ""
    """The GPUs that are hardly used, in a sentence."""


class GpuCurves:
    """Caches the answer for each job for some seconds."""

    def __init__(self, questions: Questions, clock: Callable[[], float] = time.monotonic) -> None:
        self._questions = questions
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[str, tuple[float, GpuUse]] = OrderedDict()

    def of(self, described: Description) -> GpuUse:
        """The job's recent use of its GPUs."""
        submit = described.job.submit
        if submit is None or not submit.total_gpu:
            return GpuUse()
        job_id, now = described.job.job_id, self._clock()
        with self._lock:
            at, drawn = self._known.get(job_id, (-_FRESH_S, GpuUse()))
            if now - at < _FRESH_S:
                return drawn
            # Concurrent requests see the previous answer.
            self._keep(job_id, now, drawn)
        drawn = self._asked(described)
        with self._lock:
            self._keep(job_id, now, drawn)
        return drawn

    def _keep(self, job_id: str, now: float, drawn: GpuUse) -> None:
        self._known[job_id] = now, drawn
        self._known.move_to_end(job_id)
        while len(self._known) > _MAX_JOBS:
            self._known.popitem(last=False)

    def _asked(self, described: Description) -> GpuUse:
        pods = sorted(member.pod for member in described.members if member.pod)
        if not pods:
            return GpuUse()
        alike = takewhile(lambda pair: pair[0] == pair[1], zip(pods[0], pods[-1], strict=False))
        common = "".join(sign for sign, _ in alike)[:_MAX_LABEL_CHARS]
        end = self._clock() + _WITHIN_S
        measured: list[tuple[Gpu, tuple[Point, ...]]] = []
        try:
            found = self._questions.search("", _PREFIX, common, _MAX_SERIES)
            series = [each for part in found for each in part.series]
            for gpu in gpus_of(described.members, series):
                if self._clock() > end:
                    break
                measured.append((gpu, self._questions.points(gpu.series)))
        except (BrokerUnavailable, TooManyQuestions) as error:
            log.info("gpus_not_asked", job_id=described.job.job_id, reason=str(error))
        return GpuUse(plots(measured), "" if described.job.state in ENDED else idle(measured))
