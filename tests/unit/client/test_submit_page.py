"""Submitting a job from the page: the contract makes its form, and its bounds are the API's."""

from __future__ import annotations

import io
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from services.client.api import packages, submit_pages
from services.client.handlers import job_planned
from services.client.job_form import body_of, filled_by, inputs
from services.client.turns import TooManyError
from shared.contracts import JobPlan, JobPlanned, JobSubmit
from shared.contracts.job_parts import Resources
from tests.unit.client.test_api import NOW, Desk

TFJOB = """
apiVersion: kubeflow.org/v1
kind: TFJob
metadata: {name: mnist}
spec:
  tfReplicaSpecs:
    Worker:
      replicas: 2
      template:
        spec:
          containers:
          - {name: tensorflow, image: tensorflow/tensorflow, command: [python, /train.py]}
"""


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(api_token="right", max_page_upload_bytes=100_000)
    entered = made.call("POST", "/login", data={"token": "right", "name": "Ann"})
    made.cookie = {"cookie": entered.headers["set-cookie"].partition(";")[0]}
    yield made
    made.store.close()


def archive(*names: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size = 5
            tar.addfile(info, io.BytesIO(b"x = 1"))
    return out.getvalue()


def put(desk: Desk, body: bytes, **headers: str):
    return desk.call("PUT", packages.PATH, content=body, headers=desk.cookie | headers)


def post(desk: Desk, do: str, **fields: str):
    page = desk.call("GET", "/submit", headers=desk.cookie).text
    csrf = re.search(r'name="csrf" value="(\w+)"', page)
    assert csrf
    headers = desk.cookie | {"accept": "text/html"}
    sent = {"csrf": csrf[1], "do": do, **fields}
    return desk.call("POST", "/submit", data=sent, headers=headers)


def test_an_archive_becomes_a_package_of_its_digest_and_again_is_the_same(desk: Desk) -> None:
    body = archive("digits/code/train.py")
    first, again = put(desk, body), put(desk, body)
    assert first.status_code == 200, first.text
    assert first.json() == again.json()
    bucket, prefix, name = first.json()["package"].split(":")
    assert desk.objects.get(bucket, f"{prefix}/{name}") == body


@pytest.mark.parametrize(
    ("names", "said"),
    [(("train.py",), "code"), (("code/../../x.py",), "x.py"), (("/code/x.py",), "/code")],
)
def test_what_is_no_package_is_refused_with_its_reasons_and_not_kept(
    desk: Desk, names: tuple[str, ...], said: str
) -> None:
    refused = put(desk, archive(*names))
    assert refused.status_code == 422
    assert said in refused.text
    assert not list(desk.objects.list("barograph", "packages/"))
    assert put(desk, b"no archive").status_code == 422


def test_a_large_body_is_refused_before_it_is_read(desk: Desk) -> None:
    read: list[bytes] = []

    def body() -> Iterator[bytes]:
        read.append(b"x")
        yield b"x" * 1000

    big = put(desk, b"x" * 100_001)
    assert big.status_code == 413
    with_length = desk.call(
        "PUT", packages.PATH, headers=desk.cookie | {"content-length": "999999999"}, content=b"x"
    )
    assert with_length.status_code == 413
    assert put(desk, b"x", **{"content-length": "-1"}).status_code == 411


def test_every_field_of_the_contract_is_in_the_form_or_in_its_job_file() -> None:
    simple = {each.name.partition(".")[0] for each in inputs({})}
    assert {"name", "main", "args", "type", "workers", "resources", "ttl_s", "image"} <= simple
    rest = JobSubmit.model_fields.keys() - simple
    own = {"job_id", "package", "package_sha256", "submitted_by"}
    for name in rest - own:
        assert body_of({}, f"{name}: null") == {}, "the job file takes it"


def test_a_job_is_filled_in_again_as_it_was() -> None:
    job = JobSubmit(
        job_id="a",
        name="digits",
        type="distribute",
        ps=1,
        workers=2,
        main="train.py",
        args=("--lr", "1.10"),
        env={"A": "1"},
        package="barograph:packages:x.tar.gz",
        resources=Resources(cpu=2, memory="1Gi"),
        host_network=True,
    )
    fields, rest = filled_by(job)
    own = {"job_id": "a", "package": job.package}
    assert JobSubmit.model_validate(body_of(fields, rest) | own) == job


def test_a_job_is_planned_then_handed_in_in_its_submitters_name(desk: Desk) -> None:
    stored = put(desk, archive("digits/code/train.py")).json()
    job = {"name": "digits", "main": "train.py", "package": stored["package"]}
    publish = desk.publish

    def answering(messages, **how) -> None:
        publish(messages, **how)
        for message in messages:
            if isinstance(message, JobPlan):
                told = JobPlanned(
                    request_id=message.request_id,
                    runtime="local",
                    roles=[{"role": "worker", "members": 1, "resources": Resources()}],
                    cpu=1,
                    memory_bytes=2**30,
                    at=NOW,
                )
                desk.hear(job_planned, told)

    desk.publish = answering
    planned = post(desk, "plan", **job)
    assert planned.status_code == 200, planned.text
    assert "The plan" in planned.text
    assert 'value="submit"' in planned.text
    handed = post(desk, "submit", **job, args="--lr\r\n0.1")
    assert handed.status_code == 303, handed.text
    message = desk.sent[-1]
    assert isinstance(message, JobSubmit)
    assert (message.submitted_by, message.args) == ("Ann", ("--lr", "0.1"))
    assert handed.headers["location"] == f"/jobs/{message.job_id}"
    again = desk.call("GET", f"/submit?again={message.job_id}", headers=desk.cookie).text
    assert f'value="{stored["package"]}"' in again


def test_a_tfjob_is_handed_in_with_a_package_of_its_commands(desk: Desk) -> None:
    handed = post(desk, "submit", rest=TFJOB)
    assert handed.status_code == 303, handed.text
    message = desk.sent[-1]
    assert isinstance(message, JobSubmit)
    assert (message.name, message.workers, message.main) == ("mnist", 2, "main.py")
    bucket, prefix, name = message.package.split(":")
    assert desk.objects.head(bucket, f"{prefix}/{name}") is not None


def test_every_fault_is_said_and_what_was_typed_stays(desk: Desk) -> None:
    refused = post(desk, "plan", name="x y", main="train.py", ps="many", rest="envv: {}")
    assert refused.status_code == 422
    assert "envv" in refused.text
    assert 'value="x y"' in refused.text
    refused = post(desk, "plan", name="x y", ps="many", package="nonsense")
    assert refused.status_code == 422
    for field in ("name", "main", "ps", "package"):
        assert re.search(rf'class="fault">{field}\b', refused.text), field
    missing = {"name": "x", "main": "a.py", "package": "barograph:packages:none.tar.gz"}
    assert "upload it first" in post(desk, "plan", **missing).text


def test_the_plan_names_a_main_program_that_the_package_does_not_hold(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit_pages, "_PLAN_S", 0.0)
    package = put(desk, archive("digits/code/train.py")).json()["package"]
    fields = {"package": package, "name": "digits", "type": "single"}
    wrong = post(desk, "plan", main="trian.py", **fields)
    assert wrong.status_code == 422
    assert "no main program trian.py; there is &#39;train.py&#39;" in wrong.text
    assert post(desk, "plan", main="train.py", **fields).status_code == 200
    missing = post(desk, "plan", package=package)
    assert (missing.status_code, "name: is required" in missing.text) == (422, True)
    monkeypatch.setattr(submit_pages, "_LOOKED_INTO", 1)
    assert post(desk, "plan", main="trian.py", **fields).status_code == 200, "it is too large"


def test_plans_take_only_some_of_the_threads_that_answer(desk: Desk) -> None:
    """Each reads a whole package, and waits for a task service that may not answer."""
    planning = desk.app.state.client.planning
    fields = {"name": "digits", "main": "train.py", "package": "barograph:packages:x.tar.gz"}
    with ExitStack() as stack, suppress(TooManyError):
        for number in range(40):
            stack.enter_context(planning.one())
            assert number < 10, "all threads can be taken"
    with ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(planning.one())
        page = post(desk, "plan", **fields)
    assert page.status_code == 503
    assert "Too many plans are being made" in page.text
    assert 'value="digits"' in page.text, "what was typed stays"
    assert desk.sent == []


def test_a_tfjob_without_code_says_where_its_programs_have_to_be(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submit_pages, "_PLAN_S", 0.0)
    assert "has to be in the image" in post(desk, "plan", rest=TFJOB).text


def test_nobody_stops_healing_everywhere_by_leaving_a_field_empty(desk: Desk) -> None:
    page = desk.call("GET", "/submit", headers=desk.cookie).text
    csrf = re.search(r'name="csrf" value="(\w+)"', page)
    assert csrf
    sent = {"csrf": csrf[1], "hosts": " ", "reason": "x"}
    answer = desk.call("POST", "/healing/stop", data=sent, headers=desk.cookie)
    assert answer.status_code == 422
    assert "on which machines" in answer.text
