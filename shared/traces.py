"""Spans in W3C trace context: what a service did, as part of which trace.

Every message carries a ``traceparent``, whether or not anybody collects spans. A service that is
given an exporter (``shared.traces_otlp``) sends its spans to a collector; without one a span costs
its two ids. All that belongs to one job is in one trace whose id follows from the job's, so that
it holds together across restarts, replicas and days without being stored.
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache

_TRACEPARENT = re.compile(r"^00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}$")
_IDS = random.Random()
os.register_at_fork(after_in_child=_IDS.seed)
_CURRENT: ContextVar[str] = ContextVar("traceparent", default="")

Value = str | int | float | bool


class Kind(StrEnum):
    """The relation of a span to the one it follows from, in OpenTelemetry's words."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    CONSUMER = "consumer"


@dataclass(slots=True)
class Span:
    """Something that took its time; exported when it ends."""

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str = ""
    start_ns: int = 0
    end_ns: int = 0
    problem: str = ""
    """The reason for which it failed; empty where it did not."""
    attributes: dict[str, Value] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)
    """Trace contexts of other traces that it belongs with."""

    @property
    def traceparent(self) -> str:
        """The context of what follows from it."""
        return f"00-{self.trace_id}-{self.span_id}-01"

    def end(self, problem: str = "") -> None:
        """End the span now."""
        self.end_ns, self.problem = time.time_ns(), problem
        export(self)


Export = Callable[[Span], None]
"""Takes a span; it neither waits nor raises."""


def _nobody(_span: Span) -> None:
    """Drop a span, because spans are not collected."""


_export: Export = _nobody


def export_to(exporter: Export | None) -> None:
    """Have this process' spans exported with ``exporter``; None: not at all."""
    global _export  # noqa: PLW0603 - like logging's, the process has one
    _export = exporter or _nobody


def collected() -> bool:
    """Return whether spans are collected, so that callers need not describe them otherwise."""
    return _export is not _nobody


def export(span: Span) -> None:
    """Pass an ended span to the exporter."""
    _export(span)


def begin(
    name: str, kind: Kind, parent: str = "", attributes: Mapping[str, Value] | None = None
) -> Span:
    """A span that begins now, in its parent's trace or in a new one."""
    trace_id, parent_id = parts(parent) or (_new_id(128), "")
    return Span(
        name,
        kind,
        trace_id,
        _new_id(64),
        parent_id,
        time.time_ns(),
        attributes=dict(attributes or {}),
    )


def _new_id(bits: int) -> str:
    """A random id, which costs a tenth of one from the operating system: each message has one."""
    return f"{_IDS.getrandbits(bits) or 1:0{bits // 4}x}"


@lru_cache(256)
def parts(traceparent: str) -> tuple[str, str] | None:
    """The ids of trace and span; None if the text is not a trace context."""
    match = _TRACEPARENT.match(traceparent)
    return (match[1], match[2]) if match else None


def current() -> str:
    """The trace context of this thread or task; empty if there is none."""
    return _CURRENT.get()


@contextmanager
def within(traceparent: str) -> Iterator[None]:
    """Messages that are published in the block follow from this."""
    token = _CURRENT.set(traceparent)
    try:
        yield
    finally:
        _CURRENT.reset(token)


def following(cause: str, job_id: str = "") -> str:
    """The trace context of a new message.

    Args:
        cause: the context it follows from; nothing: the current one.
        job_id: the job it is about, whose trace it belongs to whatever caused it.
    """
    followed = cause or current()
    found = parts(followed)
    if not job_id:
        return followed if found else begin("", Kind.INTERNAL).traceparent
    root = of_job(job_id)
    return followed if found and found[0] == root.trace_id else root.traceparent


def of_job(job_id: str, *part: object) -> Span:
    """The span of a job from submit to end; or with ``part``, of something within it.

    The ids are the same however often and wherever they are asked for: what is exported twice is
    one span.
    """
    trace_id, root_id = _ids_of_job(job_id)
    if not part:
        return Span("job", Kind.INTERNAL, trace_id, root_id)
    span_id = _digest("job", job_id, *part)[32:48]
    return Span("", Kind.INTERNAL, trace_id, span_id, root_id)


@lru_cache(4096)
def _ids_of_job(job_id: str) -> tuple[str, str]:
    """The ids of a job's trace and of its span: each message about the job asks for them."""
    digest = _digest("job", job_id)
    return digest[:32], digest[32:48]


def _digest(*words: object) -> str:
    return hashlib.sha256("\x1f".join(map(str, words)).encode()).hexdigest()
