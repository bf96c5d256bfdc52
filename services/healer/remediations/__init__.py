"""All remediations, one file each; they are imported when the registry is first read."""

from services.healer.remediations.base import (
    REGISTRY,
    Journal,
    Outcome,
    Remediation,
    Step,
    StepFailed,
    Stopped,
    checked,
    make,
    registered,
    remediation,
)
from services.healer.remediations.stepwise import Stepwise

__all__ = [
    "REGISTRY",
    "Journal",
    "Outcome",
    "Remediation",
    "Step",
    "StepFailed",
    "Stepwise",
    "Stopped",
    "checked",
    "make",
    "registered",
    "remediation",
]
