"""All remediations; importing this package registers them."""

from services.healer.remediations import clean_logs
from services.healer.remediations.base import (
    Journal,
    Outcome,
    Remediation,
    Step,
    make,
    registered,
    remediation,
)

__all__ = [
    "Journal",
    "Outcome",
    "Remediation",
    "Step",
    "clean_logs",
    "make",
    "registered",
    "remediation",
]
