"""``tshell submit --notify``: who is notified of a job's end."""

from __future__ import annotations

from typing import Any

import pytest
import typer
from pydantic import ValidationError

from services.client import wording
from services.client.tshell.options import JobOptions
from shared.contracts import JobSubmit

JOB = {
    "job_id": "j",
    "name": "n",
    "type": "single",
    "package": "jobs:packages:x.tar.gz",
    "main": "m.py",
}


def wish(to: list[str], on: str, pending_s: float) -> dict[str, Any]:
    options = JobOptions(notify=to, notify_on=on, notify_pending_s=pending_s)
    return {"notify": options.body()["notify"]}


def test_the_options_are_the_jobs_wish() -> None:
    asked = wish(["mail:ann@example.org", "slack"], "failed, pending", 60)
    notify = JobSubmit.model_validate(JOB | asked).notify
    assert notify is not None
    assert (notify.to, notify.on, notify.pending_s) == (
        ("mail:ann@example.org", "slack"),
        ("failed", "pending"),
        60,
    )
    assert "notify" not in JobOptions(notify=None).body()


def test_labels_are_names_with_values() -> None:
    body = JobOptions(label=["area=vision", "team=a=b", "empty="]).body()
    labels = JobSubmit.model_validate(JOB | {"labels": body["labels"]}).labels
    assert labels == {"area": "vision", "team": "a=b", "empty": ""}
    assert "label" not in body
    with pytest.raises(typer.BadParameter, match="NAME=VALUE"):
        JobOptions(label=["area"]).body()


@pytest.mark.parametrize("labels", [{"": "a"}, {"a b": "c"}, {"a": "b\nc"}, {"a": "b" * 254}])
def test_what_is_no_label_is_refused(labels: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match="labels"):
        JobSubmit.model_validate(JOB | {"labels": labels})


@pytest.mark.parametrize("asked", [wish(["x y"], "failed", 60), wish(["slack"], "never", 60)])
def test_what_is_not_understood_is_refused_by_name(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="notify"):
        JobSubmit.model_validate(JOB | asked)


def test_whom_nobody_can_notify_is_named_once_and_in_words() -> None:
    with pytest.raises(ValidationError) as refused:
        JobSubmit.model_validate(JOB | wish(["mail:a@b,c@d"], "failed", 60))
    (fault,) = wording.faults(refused.value.errors())
    assert (fault.field, fault.problem) == (
        "notify.to.0",
        "must be mail: and an address, or the name of a channel",
    )
