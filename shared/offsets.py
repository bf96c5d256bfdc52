"""Offsets in the sample streams."""

from __future__ import annotations

BEFORE_THE_FIRST = -1
"""The offset of a state that contains nothing of its stream."""
