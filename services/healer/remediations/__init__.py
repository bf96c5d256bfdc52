"""All remediations; importing this package registers them."""

from services.healer.remediations import (
    clean_caches,
    clean_logs,
    kill_runaway,
    renice_runaway,
    restart_service,
    stop_leftover_tensorflow,
    truncate_logs,
)
from services.healer.remediations.base import (
    Journal,
    Outcome,
    Remediation,
    Step,
    StepFailed,
    Stepwise,
    Stopped,
    make,
    registered,
    remediation,
)

__all__ = [
    "Journal",
    "Outcome",
    "Remediation",
    "Step",
    "StepFailed",
    "Stepwise",
    "Stopped",
    "clean_caches",
    "clean_logs",
    "kill_runaway",
    "make",
    "registered",
    "remediation",
    "renice_runaway",
    "restart_service",
    "stop_leftover_tensorflow",
    "truncate_logs",
]
