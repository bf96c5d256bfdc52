"""``tshell submit --notify``: whom a job's end is told."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from services.client.tshell.handing import wish
from shared.contracts import JobSubmit

JOB = {
    "job_id": "j",
    "name": "n",
    "type": "single",
    "package": "jobs:packages:x.tar.gz",
    "main": "m.py",
}


def test_the_options_are_the_jobs_wish() -> None:
    asked = wish(["mail:ann@example.org", "slack"], "failed, pending", 60)
    notify = JobSubmit.model_validate(JOB | {"notify": asked}).notify
    assert notify is not None
    assert (notify.to, notify.on, notify.pending_s) == (
        ("mail:ann@example.org", "slack"),
        ("failed", "pending"),
        60,
    )
    assert wish(None, "failed", 60) is None


@pytest.mark.parametrize("asked", [wish(["x y"], "failed", 60), wish(["slack"], "never", 60)])
def test_what_is_not_understood_is_refused_by_name(asked: object) -> None:
    with pytest.raises(ValidationError, match="notify"):
        JobSubmit.model_validate(JOB | {"notify": asked})
