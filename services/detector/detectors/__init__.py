"""All detectors, one file each; they are imported when somebody asks which there are."""

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
