"""The principals: the users of the broker."""

from __future__ import annotations

from enum import StrEnum


class Principal(StrEnum):
    """A user of the broker, with its own permissions."""

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
