"""The Python client: submit jobs, wait, read logs and results, list and mute alerts.

    from shared.client import Client

    with Client() as barograph:
        job = barograph.submit("examples/digits-single", main="train.py")
        job = barograph.wait(job.job_id)

``tshell`` and ``barograph`` are built on it. Everything else of the two APIs is reached by
``Client.call``.
"""

from shared.client.answers import Alert, Job, LogPiece, Preview, Result, Silence
from shared.client.client import Client
from shared.client.errors import (
    BadInputError,
    ClientError,
    NotEndedError,
    NotFoundError,
    RefusedError,
    UnreachableError,
)

__all__ = [
    "Alert",
    "BadInputError",
    "Client",
    "ClientError",
    "Job",
    "LogPiece",
    "NotEndedError",
    "NotFoundError",
    "Preview",
    "RefusedError",
    "Result",
    "Silence",
    "UnreachableError",
]
