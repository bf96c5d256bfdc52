"""Connections to S3 servers, and boto3's errors as ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from shared.storage.errors import (
    AccessDenied,
    AlreadyExists,
    NotFound,
    StorageError,
    StorageUnavailable,
    is_passing,
)

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NOT_FOUND = {"NoSuchKey", "NoSuchBucket", "NoSuchUpload", "404", "NotFound"}
_DENIED = {"AccessDenied", "SignatureDoesNotMatch", "InvalidAccessKeyId", "403", "Forbidden"}
_LOOPBACK = {"127.0.0.1", "::1", "localhost"}
_EXISTS = {"PreconditionFailed", "412"}
_PASSING = {"SlowDown", "ServiceUnavailable", "RequestTimeout", "RequestTimeTooSkewed"}
_PASSING |= {"Throttling", "ThrottlingException", "TooManyRequests", "RequestThrottled"}
"""Refusals that say nothing of the request: the store is busy, or a clock is being set."""


def code_of(error: ClientError) -> str:
    """The store's own word for what went wrong."""
    return str(error.response.get("Error", {}).get("Code", ""))


def s3_client(url: str, access_key: str, secret_key: str) -> S3Client:
    """A client for path-style addresses and signature version 4.

    It reaches a server on this machine itself, whatever proxy the environment names.
    """
    here = urlsplit(url).hostname in _LOOPBACK
    return boto3.session.Session().client(
        "s3",
        endpoint_url=url,
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name="us-east-1",
        config=Config(
            signature_version="s3v4",
            proxies={} if here else None,
            s3={"addressing_style": "path"},
            retries={"max_attempts": 4, "mode": "standard"},
            connect_timeout=5,
            read_timeout=60,
            max_pool_connections=16,
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        ),
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """boto3's errors as ours, with ``what`` it was about."""
    try:
        yield
    except ClientError as error:
        code = code_of(error)
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        text = f"{what}: {code}"
        if code in NOT_FOUND:
            raise NotFound(text) from error
        if code in _DENIED:
            raise AccessDenied(text) from error
        if code in _EXISTS:
            raise AlreadyExists(text) from error
        if is_passing(status) or code in _PASSING:
            raise StorageUnavailable(text) from error
        raise StorageError(f"{text}: {error}") from error
    except (BotoCoreError, OSError) as error:
        if (
            isinstance(error, OSError)
            and error.filename is not None
            and not isinstance(error, ConnectionError)
        ):
            raise  # the local file's trouble, not the store's
        raise StorageUnavailable(f"{what}: {error}") from error
