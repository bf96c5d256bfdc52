"""All remediations, one file each; they are imported when somebody asks which there are."""

from services.healer.remediations.base import (
    REGISTRY,
    Journal,
    Outcome,
    Remediation,
    Step,
    StepFailed,
    Stepwise,
    Stopped,
    checked,
    make,
    registered,
    remediation,
)

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
