"""Who connects to the broker."""

from __future__ import annotations

from enum import StrEnum


class Principal(StrEnum):
    """Who connects to the broker; each has its own user with its own permissions."""

    CLIENT = "client"
    TASK = "task"
    AUTOSPEC = "autospec"
    DETECTOR = "detector"
    PREDICTOR = "predictor"
    HEALER = "healer"
    AGENT = "agent"
    MEMBER = "member"
    OUTSIDE = "outside"
    OPERATOR = "operator"
