"""All detectors; importing this package registers them."""

from services.detector.detectors import (
    amplitude,
    chain,
    isolation_forest,
    long_term,
    short_term,
    surprise,
    threshold,
)
from services.detector.detectors.base import Detector, Tick, Votes, detector, make, registered

__all__ = [
    "Detector",
    "Tick",
    "Votes",
    "amplitude",
    "chain",
    "detector",
    "isolation_forest",
    "long_term",
    "make",
    "registered",
    "short_term",
    "surprise",
    "threshold",
]
