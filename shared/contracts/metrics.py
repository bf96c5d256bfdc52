"""Messages that carry samples from outside into the platform."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from shared.contracts.message import HostName, Message, Part, routing_word

ItemName = Annotated[
    str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z_:][A-Za-z0-9_:.\-]*$")
]
LabelName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
LabelValue = Annotated[str, Field(max_length=512, pattern=r"^[^\x00-\x1f]*$")]

MAX_SAMPLES = 50_000
"""Samples in one batch; larger ones are refused, so that one message stays within megabytes."""


class Sample(Part):
    """One value of one series at one time."""

    item: ItemName = Field(description="What is measured, e.g. cpu.idle or a Prometheus name.")
    time_ms: int = Field(ge=0, le=253_402_300_799_999, description="Unix time, milliseconds.")
    value: Annotated[float, Field(allow_inf_nan=False)] = Field(
        description="In the item's unit (percent, bytes, seconds ...)."
    )
    labels: dict[LabelName, LabelValue] = Field(
        default_factory=dict, max_length=32, description="What tells series of an item apart."
    )


class MetricBatch(Message):
    """Samples of one machine, in any order. Sent again after a doubt, it does no harm."""

    TYPE: ClassVar[str] = "samples.publish"

    host: HostName = Field(description="The machine the samples are about.")
    samples: tuple[Sample, ...] = Field(min_length=1, max_length=MAX_SAMPLES)

    def routing_key(self) -> str:
        return f"samples.{routing_word(self.host)}"

    def subject(self) -> str:
        return self.host
