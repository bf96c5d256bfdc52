"""The base of every message, and the registry that finds a message class by its type.

A message class is registered when it is defined with a ``TYPE``. ``shared.topology.ROUTES`` has the
messages in the order in which they flow.
"""

from __future__ import annotations

import hashlib
import re
import uuid
from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field

from shared import machine

NAMESPACE = uuid.UUID("6f0c5a52-6f3d-5e0b-9b57-0b0c5b7f1f57")
"""Namespace of all deterministic ids; changing it would make every event look new."""

MAX_WORD = 80
"""Characters of one word of a routing key."""

_UNSAFE_IN_KEY = re.compile(r"[^A-Za-z0-9_-]+")


def _check_relative_path(value: str) -> str:
    parts = value.split("/")
    if value.startswith("/") or ".." in parts or not value.isprintable():
        msg = "must be a relative path without '..' or control characters"
        raise ValueError(msg)
    return value


Identifier = Annotated[
    str, Field(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?$")
]
"""A name safe in file names, routing keys and object keys."""


def _machine(value: object) -> object:
    return (machine.machine_of(value) or value) if isinstance(value, str) else value


HostName = Annotated[
    str,
    BeforeValidator(_machine),
    Field(min_length=1, max_length=machine.MAX_LENGTH, pattern=machine.PATTERN),
]
"""A machine's name. However it is written (capitals, port, brackets), it is read as
``shared.machine`` calls it."""

RelativePath = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    AfterValidator(_check_relative_path),
]
"""A path below some root: not absolute, without ``..`` and control characters."""


def cut_to(most: int) -> BeforeValidator:
    """Keeps the first ``most`` characters or elements: a long text loses its end, not its whole.

    For what the platform says of others; what somebody asks for is refused instead.
    """

    def cut(value: object) -> object:
        return value[:most] if isinstance(value, str | list | tuple) else value

    return BeforeValidator(cut)


Sentence = Annotated[str, Field(max_length=2000), cut_to(2000)]
"""Words for people, often with something foreign in them."""

Sentences = Annotated[tuple[Sentence, ...], Field(max_length=100), cut_to(100)]


def deterministic_id(*parts: object) -> str:
    """The same parts always give the same UUID (version 5), on every machine."""
    # This is uuid.uuid5 without its objects, which cost: every alert has half a dozen ids.
    name = "\x1f".join(map(str, parts)).encode()
    text = hashlib.sha1(NAMESPACE.bytes + name, usedforsecurity=False).hexdigest()
    variant = "89ab"[int(text[16], 16) & 3]
    return f"{text[:8]}-{text[8:12]}-5{text[13:16]}-{variant}{text[17:20]}-{text[20:32]}"


def routing_word(text: str) -> str:
    """``text`` as one word of a routing key: dots and other separators become ``-``.

    A key has 255 bytes for all of its words, so a long word is cut and ends in a digest of the
    whole, and so does one with letters that a key does not carry: two names stay two.
    """
    word = _UNSAFE_IN_KEY.sub("-", text).strip("-") or "unknown"
    if len(word) <= MAX_WORD and text.isascii():
        return word
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return f"{word[: MAX_WORD - 17]}-{digest}"


def job_word(job_id: str) -> str:
    """A job's id as one word of a routing key. No two ids share one: rights end in it."""
    return job_id.replace(".", ":")


class Part(BaseModel):
    """A part of a message: frozen; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class Message(Part):
    """A command or an event.

    Subclasses set ``TYPE`` (``job.submit``) and, after an incompatible change, ``VERSION``.
    """

    TYPE: ClassVar[str] = ""
    VERSION: ClassVar[int] = 1
    SUBJECT: ClassVar[str] = ""
    """The field that names the message's subject in the sense of CloudEvents."""
    DEDUPE_BY: ClassVar[tuple[str, ...]] = ()
    """The fields that make two deliveries the same effect; none when every publish is its own."""
    ONCE: ClassVar[bool] = True
    """True if a second delivery must be kept from having an effect. False for what is published
    repeatedly and only ever says how things are now: remembering each would fill the inbox."""

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: object) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        if "TYPE" in cls.__dict__:
            if cls.TYPE in _REGISTRY and _REGISTRY[cls.TYPE].__qualname__ != cls.__qualname__:
                msg = f"two message classes claim the type {cls.TYPE!r}"
                raise TypeError(msg)
            _REGISTRY[cls.TYPE] = cls

    def routing_key(self) -> str:
        """The key this message is published with; by default its type."""
        return self.TYPE

    def subject(self) -> str:
        """The message's subject in the sense of CloudEvents, for people and traces."""
        return _text(getattr(self, self.SUBJECT)) if self.SUBJECT else ""

    def dedupe_key(self) -> str | None:
        """The key that makes two deliveries the same effect; None when every publish is its own."""
        if not self.DEDUPE_BY:
            return None
        return "/".join([_text(getattr(self, name)) for name in self.DEDUPE_BY])

    def about_job(self) -> str:
        """The id of the job whose trace it belongs to; empty for what is about none."""
        return str(self.__dict__.get("job_id", ""))

    def message_id(self) -> str:
        """A deterministic id where ``dedupe_key`` gives one, a random one otherwise."""
        key = self.dedupe_key()
        return str(uuid.uuid4()) if key is None else deterministic_id(self.TYPE, key)


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


_REGISTRY: dict[str, type[Message]] = {}


def message_types() -> dict[str, type[Message]]:
    """Every message class by its type."""
    return dict(_REGISTRY)


class Fault(Part):
    """One thing wrong with a request."""

    field: Annotated[str, cut_to(500)] = Field(
        max_length=500, description="A dotted path into the message, or '' for the whole."
    )
    problem: Sentence = Field(description="The problem and what would be right, in one sentence.")


Faults = Annotated[tuple[Fault, ...], Field(max_length=100), cut_to(100)]


__all__ = [
    "AwareDatetime",
    "Fault",
    "Faults",
    "HostName",
    "Identifier",
    "Message",
    "Part",
    "RelativePath",
    "Sentence",
    "Sentences",
    "cut_to",
    "deterministic_id",
    "job_word",
    "message_types",
    "routing_word",
]
