"""Messages that carry samples from outside into the platform."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shared.contracts.message import HostName, Message, Part, routing_word

MAX_ITEM_LENGTH, MAX_LABELS, LABEL_NAME_LENGTH, LABEL_VALUE_LENGTH = 200, 32, 128, 512
"""The bounds on names and labels: events' headers carry them."""
UNPRINTABLE = r"[\x00-\x1f\x7f-\x9f\u2028\u2029]"
"""Control characters and line breaks: they stand in no name and in no label's value."""
_PRINTABLE = rf"^{UNPRINTABLE.replace('[', '[^', 1)}*$"

ItemName = Annotated[
    str,
    Field(min_length=1, max_length=MAX_ITEM_LENGTH, pattern=_PRINTABLE),
]
"""The name of a metric: any UTF-8 text on one line, as in Prometheus 3."""
LabelName = Annotated[str, Field(min_length=1, max_length=LABEL_NAME_LENGTH, pattern=_PRINTABLE)]
LabelValue = Annotated[str, Field(max_length=LABEL_VALUE_LENGTH, pattern=_PRINTABLE)]

MAX_SAMPLES = 50_000
"""Samples in one batch; larger ones are refused, so that one message stays within megabytes."""


class Sample(Part):
    """One value of one series at one time."""

    item: ItemName = Field(
        description="The name of the measured quantity, e.g. cpu.idle or a Prometheus name."
    )
    time_ms: int = Field(ge=0, le=253_402_300_799_999, description="Unix time, milliseconds.")
    value: Annotated[float, Field(allow_inf_nan=False)] = Field(
        description="In the item's unit (percent, bytes, seconds ...)."
    )
    labels: dict[LabelName, LabelValue] = Field(
        default_factory=dict,
        max_length=MAX_LABELS,
        description="The labels that distinguish the series of an item.",
    )


class MetricBatch(Message):
    """Samples of one machine, in any order. Sending them again does no harm."""

    TYPE: ClassVar[str] = "samples.publish"
    SUBJECT: ClassVar[str] = "host"

    host: HostName = Field(description="The machine the samples are about.")
    samples: tuple[Sample, ...] = Field(min_length=1, max_length=MAX_SAMPLES)
    agent_age_s: float | None = Field(
        default=None,
        ge=0,
        le=1e10,
        allow_inf_nan=False,
        description="Seconds since the sender of this machine's samples started: what starts "
        "raises no alarm by its own start. Null: it does not say.",
    )

    def routing_key(self) -> str:
        return f"samples.{routing_word(self.host)}"
