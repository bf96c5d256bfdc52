"""Samples in columns, their Arrow encoding, and valid names."""

from shared.samples.arrow import CONTENT_TYPE, MAX_BODY_BYTES, decode, decode_partly, encode
from shared.samples.batch import (
    InvalidBatch,
    SampleBatch,
    Sender,
    concatenate,
    from_message,
    from_rows,
    to_messages,
)
from shared.samples.checks import accepted, check
from shared.samples.names import item_of, kept_labels, labels_from, labels_text

__all__ = [
    "CONTENT_TYPE",
    "MAX_BODY_BYTES",
    "InvalidBatch",
    "SampleBatch",
    "Sender",
    "accepted",
    "check",
    "concatenate",
    "decode",
    "decode_partly",
    "encode",
    "from_message",
    "from_rows",
    "item_of",
    "kept_labels",
    "labels_from",
    "labels_text",
    "to_messages",
]
