"""Checks with the healer, if it is available, that a job may notify the recipients it names."""

from __future__ import annotations

import structlog

from services.client.healer_api import HealerApi, HealerRefused, HealerUnavailable
from shared.contracts import Fault, JobSubmit

log = structlog.get_logger(__name__)


def faults(job: JobSubmit, healer: HealerApi) -> list[Fault]:
    """A fault for each target that the healer's channels do not allow to jobs.

    A healer that does not answer stops no job: it refuses such a target itself, and logs it.
    """
    if job.notify is None or not healer.known:
        return []
    try:
        answer = healer.get("job-notices", "refused", to=job.notify.to)
        channels, refused = list(answer["channels"]), list(answer["refused"])
    except (HealerUnavailable, HealerRefused) as error:
        log.warning("notice_targets_unchecked", job_id=job.job_id, reason=str(error))
        return []
    except (LookupError, TypeError) as error:
        # A healer of another version must not cost the job.
        log.warning("notice_targets_unchecked", job_id=job.job_id, reason=repr(error))
        return []
    allowed = ", ".join(map(str, channels)) or "none"
    return [
        Fault(
            field=f"notify.to.{number}",
            problem=f"jobs may not name {target}; channels that they may name: {allowed}",
        )
        for number, target in enumerate(job.notify.to)
        if target in refused
    ]
