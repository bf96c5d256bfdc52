"""The request that submits a job: repeated until it is answered, and one job all the same."""

from __future__ import annotations

import time
import uuid
from typing import Any

from shared.changes import with_changes
from shared.client.answers import Submitted
from shared.client.connection import Connection
from shared.client.errors import UnreachableError

_TRIES, _PAUSE_S = 3, 1.0


def submitted(api: Connection, asked: dict[str, Any]) -> Submitted:
    """Submit a job under a generated id, so that a repeat after a lost answer is the same job.

    Raises:
        UnreachableError: when no answer comes; it names the id, by which the job is found.
    """
    job_id = asked.get("job_id") or f"job-{uuid.uuid4().hex[:12]}"
    body = asked | {"job_id": job_id}
    tries = 0
    while True:
        tries += 1
        try:
            taken = api.ask(Submitted, "POST", "/jobs", json=body)
        except UnreachableError as error:
            if tries == _TRIES:
                text = f"{error}; if it was taken all the same, it is job {job_id}"
                raise UnreachableError(text) from error
            time.sleep(_PAUSE_S)
        else:
            return taken if asked.get("job_id") else with_changes(taken, known=False)
