"""All remediations; importing this package registers them."""

from services.healer.remediations import clean_logs
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
    "clean_logs",
    "make",
    "registered",
    "remediation",
]
