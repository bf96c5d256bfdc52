"""Tests of what belongs to a project, and how somebody of another one might come by it."""

from __future__ import annotations

import mailbox
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage

import pytest

from services.client import handlers
from services.client.access import ROLES
from services.task.validation import Quotas, faults
from shared.contracts import (
    JobAccepted,
    JobFailed,
    JobRunning,
    JobSubmit,
    LogAppended,
    Member,
)
from shared.contracts.job_notices import PROJECT_HEADER
from tests.unit.client.test_api import Desk

DIGEST = "a" * 64
QUOTAS = Quotas(cpu=64, memory=2**40, gpu=8, members=100)


def asked(project: str, package: str, **more: object) -> JobSubmit:
    body = {"job_id": "j", "name": "n", "main": "main.py", "project": project, "package": package}
    return JobSubmit.model_validate(body | more)


@pytest.mark.parametrize(
    ("project", "package"),
    [
        ("speech", f"barograph:packages/vision-9:{DIGEST}.tar.gz"),
        ("speech", f"barograph:packages:{DIGEST}.tar.gz"),
        ("default", f"barograph:packages/vision-9:{DIGEST}.tar.gz"),
        ("default", "barograph:packages:../packages/vision-9/x.tar.gz"),
        ("speech", "barograph:packages/speech/../vision-9:x.tar.gz"),
        ("speech", "barograph:jobs/train-7/model:weights.h5"),
        ("default", "barograph:jobs/train-7/logs/worker-0/1:00000000.log"),
        ("default", "barograph:uploads:0f.tar.gz"),
        ("vision-9", "other:packages/vision-9:x.tar.gz"),
    ],
)
def test_no_job_names_an_object_of_another_project_as_its_package(
    project: str, package: str
) -> None:
    try:
        submit = asked(project, package)
    except ValueError:
        return  # the contract knows no such name
    assert "package" in {fault.field for fault in faults(submit, QUOTAS)}


@pytest.mark.parametrize(
    ("project", "package"),
    [
        ("default", "barograph:packages:x.tar.gz"),
        ("vision-9", "barograph:packages/vision-9:x.tar.gz"),
    ],
)
def test_a_job_names_a_package_of_its_own_project(project: str, package: str) -> None:
    assert not faults(asked(project, package), QUOTAS)


def test_a_label_does_not_say_another_project_than_the_jobs_own() -> None:
    submit = asked("default", "barograph:packages:x.tar.gz", labels={"project": "vision-9"})
    (fault,) = faults(submit, QUOTAS)
    assert (fault.field, fault.problem) == (
        "labels.project",
        "this is a field of its own: project: vision-9",
    )


@pytest.mark.parametrize("name", ["", "Vision", "a/b", "..", "a.b", "-a", "a" * 51, "a@b", "*"])
def test_a_project_is_named_so_that_it_stays_one_part_of_a_key(name: str) -> None:
    with pytest.raises(ValueError, match="project"):
        asked(name, "barograph:packages:x.tar.gz")


# Two people of two projects, over every route there is.

MARKS = (
    "train-7",
    "secret-name",
    "secret-argument",
    "secret line",
    "secret-weights",
    "secret reason",
)
"""What anything of the other project's job would show."""
PLAN = "plan-" + "a" * 32
DIGEST_KEY = f"packages/vision-9/{DIGEST}.tar.gz"
PLATFORM = {
    # Machines, their metrics and alerts are of the whole platform; see docs/how-to/who-may-do-what.
    ("GET", path)
    for path in (
        "/alerts",
        "/alerts/{alert_id}",
        "/audit",
        "/channels",
        "/forecasts",
        "/judgements",
        "/ledger",
        "/ledger/cases",
        "/login",
        "/login/oidc",
        "/login/oidc/callback",
        "/machines",
        "/machines/{name}",
        "/metrics",
        "/metrics/series",
        "/rules",
        "/settings",
        "/silences",
        "/silences/new",
        "/api/v1/curve",
        "/api/v1/curve.csv",
        "/api/v1/openapi.json",
        "/api/v1/series",
        "/api/v1/tokens",
    )
} | {
    ("POST", path)
    for path in (
        "/login",
        "/logout",
        "/actions/{action_id}/{decision}",
        "/alerts/acknowledge",
        "/alerts/judge",
        "/channels/{name}/test",
        "/healing/{change}",
        "/rules/{rule_id}/{decision}",
        "/silences/draft",
        "/silences/new",
        "/silences/{silence_id}/end",
        "/api/v1/tokens",
    )
}
PLATFORM.add(("DELETE", "/api/v1/tokens/{token_id}"))
LISTS = {
    ("GET", path): mark
    for path, mark in {
        "/": "train-7",
        "/jobs": "train-7",
        "/mail": "train-7",
        "/wall": "secret-name",
        "/api/v1/jobs": "train-7",
        "/api/v1/mail": "train-7",
        "/api/v1/usage": "live-7",
        "/submit": "secret-name",
    }.items()
}
"""What a person of the project finds there, and nobody else."""
HAND_IN = {
    ("POST", "/api/v1/jobs"),
    ("POST", "/api/v1/plans"),
    ("POST", "/api/v1/uploads"),
    ("POST", "/api/v1/uploads/finish"),
    ("POST", "/jobs/{change}"),
    ("POST", "/submit"),
    ("PUT", "/api/v1/packages"),
}
"""Tested below, each with what it takes."""
OTHERS = {("GET", "/api/v1/mail/{key}/{part}"), ("GET", "/api/v1/plans/{request_id}")}


def of_a_job(route: tuple[str, str]) -> bool:
    return "{job_id}" in route[1]


def test_every_route_is_of_the_platform_or_tested_for_projects() -> None:
    """A new route is put into one of these sets, or it is of a job, which is found by its path."""
    sorted_out = PLATFORM | LISTS.keys() | HAND_IN | OTHERS
    routes = {route for route in ROLES if not of_a_job(route)}
    assert routes == sorted_out


class MailDesk(Desk):
    """A desk with the key of a mail about a job."""

    mail = ""


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MailDesk]:
    box = mailbox.Maildir(tmp_path_factory.mktemp("mail") / "box")
    mail = EmailMessage()
    mail["Subject"], mail[PROJECT_HEADER] = "train-7 has failed", "vision-9"
    mail.set_content("secret line")
    mail.add_attachment(b"\x89PNG", "image", "png")
    made = MailDesk(api_token="root", maildir=str(box._path))
    made.mail = box.add(mail)
    body = {"name": "secret-name", "main": "main.py", "args": ("secret-argument",)}
    body |= {"project": "vision-9", "package": f"barograph:packages/vision-9:{DIGEST}.tar.gz"}
    for job_id in ("train-7", "live-7"):
        submit = JobSubmit.model_validate(body | {"job_id": job_id})
        told = {"job_id": job_id, "name": "secret-name", "at": datetime.now(UTC)}
        accepted = JobAccepted(**told, state="accepted", sequence=1, submit=submit)
        made.hear(handlers.job_event, accepted)
    failed = JobFailed(
        **told | {"job_id": "train-7"},
        state="failed",
        sequence=2,
        reason="secret reason",
        failure_class="user_error",
        last_lines=("secret line",),
    )
    made.hear(handlers.job_event, failed)
    member = Member(role="worker", index=0, incarnation=1)
    key = "jobs/train-7/logs/worker-0/1/00000000.log"
    said = LogAppended(
        job_id="train-7", member=member, chunk=0, key=key, text="secret line", at=told["at"]
    )
    made.hear(handlers.log_appended, said)
    for name, data in {
        key: b"secret line",
        "jobs/train-7/model/secret-weights.h5": b"secret-weights",
        DIGEST_KEY: b"package",
    }.items():
        made.objects.put("barograph", name, data)
    made.model.ask(PLAN, told["at"], "vision-9")
    yield made
    made.store.close()


@pytest.fixture(scope="module")
def people(desk: MailDesk) -> dict[str, dict[str, str]]:
    """An operator of each project, since that role reads mails, too."""
    found = {}
    for project in ("vision-9", "speech"):
        asked = {"name": f"of {project}", "role": "operator", "projects": [project]}
        root = {"authorization": "Bearer root"}
        made = desk.call("POST", "/api/v1/tokens", json=asked, headers=root).json()
        session = desk.call("POST", "/login", data={"token": made["token"]})
        cookie = session.headers["set-cookie"].partition(";")[0]
        found[project] = {"authorization": f"Bearer {made['token']}", "cookie": cookie}
    return found


def address(desk: MailDesk, template: str) -> str:
    """The route's path to what is of the project vision-9."""
    named = {"job_id": "train-7", "path": "model/secret-weights.h5", "key": desk.mail, "part": "2"}
    named |= {"request_id": PLAN, "decision": "approve", "change": "stop"}
    path = re.sub(r"\{(\w+)(:path)?\}", lambda hit: named.get(hit[1], "1f"), template)
    return f"{path}?again=train-7" if path == "/submit" else path


@pytest.mark.parametrize("route", sorted(filter(of_a_job, ROLES)))
def test_a_job_of_another_project_is_not_there(
    desk: MailDesk, people: dict[str, dict[str, str]], route: tuple[str, str]
) -> None:
    method, template = route
    path = address(desk, template)
    own = desk.call(method, path, headers=people["vision-9"])
    assert own.status_code not in (401, 403, 404), own.text
    before = len(desk.sent)
    others = desk.call(method, path, headers=people["speech"])
    nobodys = desk.call(method, path.replace("train-7", "no-such"), headers=people["speech"])
    assert others.status_code == nobodys.status_code == 404
    # Not even by its words is it told from a job that never was.
    assert others.text.replace("train-7", "no-such") == nobodys.text
    assert len(desk.sent) == before


@pytest.mark.parametrize("route", sorted(LISTS))
def test_a_list_shows_nothing_of_another_project(
    desk: MailDesk, people: dict[str, dict[str, str]], route: tuple[str, str]
) -> None:
    path = address(desk, route[1])
    assert LISTS[route] in desk.call(*(route[0], path), headers=people["vision-9"]).text
    others = desk.call(*(route[0], path), headers=people["speech"])
    assert others.status_code == 200
    assert not [mark for mark in (*MARKS, "live-7") if mark in others.text]


@pytest.mark.parametrize("route", sorted(PLATFORM))
def test_no_page_of_the_platform_shows_anything_of_a_project(
    desk: MailDesk, people: dict[str, dict[str, str]], route: tuple[str, str]
) -> None:
    if route[1] == "/logout":
        return
    answer = desk.call(route[0], address(desk, route[1]), headers=people["speech"])
    assert not [mark for mark in (*MARKS, "live-7", "vision-9") if mark in answer.text]


@pytest.mark.parametrize("route", sorted(OTHERS))
def test_neither_mail_nor_plan_of_another_project_is_there(
    desk: MailDesk, people: dict[str, dict[str, str]], route: tuple[str, str]
) -> None:
    path = address(desk, route[1])
    assert desk.call("GET", path, headers=people["vision-9"]).status_code == 200
    assert desk.call("GET", path, headers=people["speech"]).status_code == 404


@pytest.mark.parametrize("project", ["vision-9", "default", "*"])
@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/jobs"), ("POST", "/api/v1/plans"), ("POST", "/api/v1/uploads")],
)
def test_nobody_hands_anything_in_for_another_project(
    desk: MailDesk, people: dict[str, dict[str, str]], method: str, path: str, project: str
) -> None:
    before = len(desk.sent)
    body = {"name": "n", "main": "main.py", "sha256": DIGEST, "size": 1, "project": project}
    body["package"] = f"barograph:packages/{project}:{DIGEST}.tar.gz"
    refused = desk.call(method, path, json=body, headers=people["speech"])
    assert refused.status_code in (403, 422), refused.text
    assert "project" in {fault["field"] for fault in refused.json()["faults"]}
    assert len(desk.sent) == before
    put = desk.call("PUT", f"/api/v1/packages?project={project}", headers=people["speech"])
    assert put.status_code in (403, 422)


@pytest.mark.parametrize(
    "package",
    [
        f"barograph:packages/vision-9:{DIGEST}.tar.gz",
        f"barograph:packages:{DIGEST}.tar.gz",
        "barograph:jobs/train-7/model:weights.h5",
    ],
)
def test_neither_job_nor_plan_nor_form_names_another_projects_object(
    desk: MailDesk, people: dict[str, dict[str, str]], package: str
) -> None:
    before = len(desk.sent)
    body = {"name": "n", "main": "main.py", "package": package}
    for path in ("/api/v1/jobs", "/api/v1/plans"):
        refused = desk.call("POST", path, json=body, headers=people["speech"])
        assert refused.status_code == 422
        assert [fault["field"] for fault in refused.json()["faults"]] == ["package"]
    page = desk.call("GET", "/submit", headers=people["speech"]).text
    csrf = re.search(r'name="csrf" value="(\w+)"', page)
    assert csrf
    form = body | {"csrf": csrf[1], "do": "submit"}
    sent = desk.call("POST", "/submit", data=form, headers=people["speech"])
    assert sent.status_code == 422
    assert "packages of project speech are named" in sent.text
    assert len(desk.sent) == before


@pytest.mark.parametrize("change", ["cancel", "remove"])
def test_nobody_ends_another_projects_jobs_beside_their_own(
    desk: MailDesk, people: dict[str, dict[str, str]], change: str
) -> None:
    page = desk.call("GET", "/submit", headers=people["speech"]).text
    csrf = re.search(r'name="csrf" value="(\w+)"', page)
    assert csrf
    before, told = len(desk.sent), []
    for job_id in ("train-7", "live-7", "no-such"):
        form = {"csrf": csrf[1], "job": job_id}
        refused = desk.call("POST", f"/jobs/{change}", data=form, headers=people["speech"])
        assert refused.status_code == 404
        told.append(refused.text.replace(job_id, ""))
    assert len(set(told)) == 1, "a job of others is as one that never was"
    assert len(desk.sent) == before
    counted = desk.call("GET", "/jobs", headers=people["speech"]).text
    assert "all <small>0</small>" in counted


def test_who_names_no_project_means_their_only_one(
    desk: MailDesk, people: dict[str, dict[str, str]]
) -> None:
    body = {"job_id": "own", "name": "n", "main": "main.py"}
    body["package"] = "barograph:packages/speech:x.tar.gz"
    assert desk.call("POST", "/api/v1/jobs", json=body, headers=people["speech"]).is_success
    assert desk.sent[-1].project == "speech"
    both = {"name": "both", "role": "submitter", "projects": ["vision-9", "speech"]}
    root = {"authorization": "Bearer root"}
    token = desk.call("POST", "/api/v1/tokens", json=both, headers=root).json()["token"]
    asked = desk.call(
        "POST", "/api/v1/jobs", json=body, headers={"authorization": f"Bearer {token}"}
    )
    assert asked.status_code == 422
    assert "name one of your projects, which are: speech, vision-9" in asked.text


def test_an_id_of_another_projects_job_is_refused_without_a_word_of_it(
    desk: MailDesk, people: dict[str, dict[str, str]]
) -> None:
    body = {"job_id": "train-7", "name": "n", "main": "main.py"}
    body["package"] = "barograph:packages/speech:x.tar.gz"
    refused = desk.call("POST", "/api/v1/jobs", json=body, headers=people["speech"])
    assert refused.status_code == 409
    assert refused.json()["faults"][0]["problem"] == "this id cannot be used; choose a new one"


def test_an_upload_says_nothing_of_another_projects_packages_and_goes_on_in_its_own_alone(
    desk: MailDesk, people: dict[str, dict[str, str]]
) -> None:
    asked = {"sha256": DIGEST, "size": 7}
    known = desk.call("POST", "/api/v1/uploads", json=asked, headers=people["vision-9"]).json()
    assert (known["exists"], known["upload_id"]) == (True, "")
    begun = desk.call("POST", "/api/v1/uploads", json=asked, headers=people["speech"]).json()
    assert not begun["exists"]
    assert begun["package"] == f"barograph:packages/speech:{DIGEST}.tar.gz"
    other = {"sha256": "b" * 64, "size": 7}
    first = desk.call("POST", "/api/v1/uploads", json=other, headers=people["vision-9"]).json()
    stolen = other | {"upload_id": first["upload_id"]}
    second = desk.call("POST", "/api/v1/uploads", json=stolen, headers=people["speech"]).json()
    assert second["upload_id"] != first["upload_id"]
    done = {"sha256": "b" * 64, "upload_id": first["upload_id"]}
    end = desk.call("POST", "/api/v1/uploads/finish", json=done, headers=people["speech"])
    assert end.status_code == 404


def test_the_lists_of_who_works_in_all_projects_hold_them_all(desk: MailDesk) -> None:
    root = {"authorization": "Bearer root"}
    listed = desk.call("GET", "/api/v1/jobs", headers=root).json()["jobs"]
    assert {"train-7", "live-7"} <= {each["job_id"] for each in listed}
    named = desk.call("GET", "/api/v1/jobs?project=vision-9&state=failed", headers=root).json()
    assert [each["job_id"] for each in named["jobs"]] == ["train-7"]
    assert not desk.call("GET", "/api/v1/jobs?project=none", headers=root).json()["jobs"]


def test_a_job_of_which_nothing_was_handed_in_yet_is_of_nobodys_project(
    desk: MailDesk, people: dict[str, dict[str, str]]
) -> None:
    """Its events may come before the one that says whose it is."""
    told = {"job_id": "early", "name": "early", "sequence": 2, "at": datetime.now(UTC)}
    desk.hear(handlers.job_event, JobRunning(**told, state="running", attempt=1))
    for person in people.values():
        assert desk.call("GET", "/api/v1/jobs/early", headers=person).status_code == 404
        assert "early" not in desk.call("GET", "/api/v1/jobs", headers=person).text
    root = {"authorization": "Bearer root"}
    assert desk.call("GET", "/api/v1/jobs/early", headers=root).status_code == 200
