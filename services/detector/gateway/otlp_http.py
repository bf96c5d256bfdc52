"""Responses of OTLP/HTTP in the encoding of the request, also for refusals."""

from __future__ import annotations

import orjson
from fastapi import Response
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceResponse,
)

from services.detector.gateway.otlp import Otlp
from services.detector.gateway.remote_write import Received
from services.detector.gateway.write_request import text_field

_RETRY_AFTER_S = "2"
_STATUS_MESSAGE = 2
"""The field of google.rpc.Status that holds the text."""


def accepted(encoded: Otlp, received: Received) -> Response:
    """200; what is not kept is named, and is not to be sent again."""
    answer = ExportMetricsServiceResponse()
    if received.faults:
        answer.partial_success.rejected_data_points = received.refused
        answer.partial_success.error_message = "; ".join(received.faults)
    if encoded is Otlp.JSON:
        return Response(MessageToJson(answer), media_type=encoded)
    return Response(answer.SerializeToString(), media_type=encoded)


def refusal(encoded: Otlp, status: int, text: str) -> Response:
    """A Status; with Retry-After where the same request may be taken later."""
    headers = {"Retry-After": _RETRY_AFTER_S} if status in (429, 503) else {}
    body = (
        orjson.dumps({"message": text})
        if encoded is Otlp.JSON
        else text_field(_STATUS_MESSAGE, text)
    )
    return Response(body, status, headers, encoded)
