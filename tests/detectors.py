"""A detector service with its gateway, for tests."""

from __future__ import annotations

from contextlib import ExitStack

from services.detector.main import Detector
from services.detector.settings import Settings


def started(stack: ExitStack, settings: Settings) -> Detector:
    """Running and ready; it ends with the stack."""
    detector = Detector(settings)
    detector.service.start()
    stack.callback(detector.service.stop)
    detector.service.bus.wait_ready()
    return detector
