"""Whether a job may have its end told to whom it names, as far as the healer can be asked."""

from __future__ import annotations

import structlog

from services.client.healer_api import HealerApi, HealerUnavailable
from shared.contracts import Fault, JobSubmit

log = structlog.get_logger(__name__)


def faults(job: JobSubmit, healer: HealerApi) -> list[Fault]:
    """A fault for each target that the healer's channels do not allow to jobs.

    A healer that does not answer stops no job: it refuses such a target itself, and logs it.
    """
    if job.notify is None or not healer.known:
        return []
    try:
        answer = healer.ask("GET", "job-notices", "refused", params={"to": job.notify.to}).json()
    except HealerUnavailable as error:
        log.warning("notice_targets_unchecked", job_id=job.job_id, reason=str(error))
        return []
    allowed = ", ".join(answer["channels"]) or "none"
    return [
        Fault(
            field=f"notify.to.{job.notify.to.index(target)}",
            problem=f"jobs may not name {target}; channels that they may name: {allowed}",
        )
        for target in answer["refused"]
    ]
