"""All detectors, one file each; they are imported when the registry is first read."""

from services.detector.detectors.base import (
    REGISTRY,
    Detector,
    Tick,
    Votes,
    detector,
    make,
    registered,
)

__all__ = ["REGISTRY", "Detector", "Tick", "Votes", "detector", "make", "registered"]
