"""Plans: the same rules as a submit, told without creating anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from services.task import handlers, states
from services.task.admission import Capacity
from services.task.planning import LocalPlanner, Plan, Planning
from services.task.records import JOBS, PLANS
from services.task.runtime import RuntimeUnavailable
from services.task.runtimes.kubernetes import manifests, names
from services.task.runtimes.kubernetes.template import Template
from services.task.validation import Quotas, faults
from shared.contracts import JobPlan, JobPlanned, JobSubmit, Message
from shared.service import Context
from shared.store import Records, Store

NOW = datetime(2026, 1, 1, tzinfo=UTC)
QUOTAS = Quotas(cpu=16, memory=2**34, gpu=0, members=8)
TOTAL = Capacity(16, 2**34, 1000)
PS_JOB = {
    "job_id": "j",
    "name": "n",
    "package": "barograph:packages:a.tar.gz",
    "main": "m.py",
    "type": "distribute",
    "ps": 1,
    "workers": 2,
    "resources": {"cpu": 4, "memory": "2Gi"},
    "role_resources": {"ps": {"cpu": 1, "memory": "1Gi"}},
}


class Desk:
    """A store, and what is sent when a transaction ends."""

    def __init__(self) -> None:
        self.store = Store("sqlite://")
        self.sent: list[Message] = []
        self.now = NOW

    @contextmanager
    def unit(self) -> Iterator[Desk]:
        with self.store.transaction() as self.records:
            yield self

    records: Records

    def emit(self, *messages: Message) -> None:
        self.sent += messages

    def ask(self, **fields: object) -> None:
        asked = JobPlan(request_id="r", job=JobSubmit.model_validate(PS_JOB | fields))
        with self.unit():
            assert list(handlers.job_plan(asked, Context(self.now, "m", 1, self.records))) == []

    def answer(self, planner: object = None) -> JobPlanned:
        planner = planner or LocalPlanner(QUOTAS, TOTAL, self.unit)
        Planning(planner, self.unit, lambda: self.now).run()
        (told,) = self.sent
        assert isinstance(told, JobPlanned)
        return told


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.store.close()


def test_a_plan_adds_up_what_each_role_gets(desk: Desk) -> None:
    desk.ask()
    told = desk.answer()
    assert [(r.role, r.members, r.resources.memory) for r in told.roles] == [
        ("ps", 1, "1Gi"),
        ("worker", 2, "2Gi"),
    ]
    assert (told.cpu, told.memory_bytes, told.gpu) == (9, 5 * 2**30, 0)
    assert (told.runtime, told.faults, told.fits_now) == ("local", (), True)


def test_a_plan_refuses_what_a_submit_would_refuse(desk: Desk) -> None:
    wrong = {"main": "m.sh", "workers": 9, "resources": {"cpu": 4, "memory": "1Mi", "gpu": 2}}
    desk.ask(**wrong)
    told = desk.answer()
    assert told.faults == faults(JobSubmit.model_validate(PS_JOB | wrong), QUOTAS)
    assert {f.field for f in told.faults} == {
        "main",
        "workers",
        "resources.cpu",
        "resources.memory",
        "resources.gpu",
    }
    assert told.fits_now is False


def test_a_plan_says_what_a_job_would_wait_for_and_starts_nothing(desk: Desk) -> None:
    busy, _event = states.accept(JobSubmit.model_validate(PS_JOB | {"job_id": "busy"}), NOW)
    busy, _event = states.start(busy, NOW)
    with desk.unit():
        desk.records.put(JOBS, busy)
    desk.ask()
    told = desk.answer()
    assert told.fits_now is False
    assert told.waiting_reason.startswith("waits for capacity: needs 9 cores")
    with desk.unit():
        assert [r.job_id for r in desk.records.find(JOBS)] == ["busy"]
        assert desk.records.find(PLANS) == []


def test_what_a_local_run_ignores_is_said(desk: Desk) -> None:
    desk.ask(image="tensorflow/tensorflow:2.20.0", queue="research")
    assert "image, queue will have no effect" in desk.answer().notes[0]


def test_a_runtime_that_cannot_be_asked_is_named_instead_of_an_answer(desk: Desk) -> None:
    class Away:
        runtime = "kubernetes"

        def plan(self, submit: JobSubmit, *, server: bool) -> Plan:
            raise RuntimeUnavailable("connection refused")

    desk.ask()
    told = desk.answer(Away())
    assert (told.faults, told.fits_now) == ((), None)
    assert told.notes == ("the runtime cannot be asked now, try again: connection refused",)


def test_a_plan_that_nobody_foresaw_keeps_no_other_waiting(desk: Desk) -> None:
    class Odd(LocalPlanner):
        def plan(self, submit: JobSubmit, *, server: bool) -> Plan:
            if submit.job_id == "odd":
                raise ZeroDivisionError
            return super().plan(submit, server=server)

    for job_id in ("odd", "even"):
        asked = JobPlan(
            request_id=job_id, job=JobSubmit.model_validate(PS_JOB | {"job_id": job_id})
        )
        with desk.unit():
            list(handlers.job_plan(asked, Context(desk.now, "m", 1, desk.records)))
    Planning(Odd(QUOTAS, TOTAL, desk.unit), desk.unit, lambda: desk.now).run()
    answers = {each.request_id: each for each in desk.sent if isinstance(each, JobPlanned)}
    assert answers["odd"].notes == ("no plan could be made; the task service's log says why",)
    assert answers["even"].fits_now


def test_a_question_nobody_waits_for_any_more_is_forgotten_unanswered(desk: Desk) -> None:
    desk.ask()
    desk.now += timedelta(minutes=3)
    Planning(LocalPlanner(QUOTAS, TOTAL, desk.unit), desk.unit, lambda: desk.now).run()
    assert desk.sent == []
    with desk.unit():
        assert desk.records.find(PLANS) == []


def test_on_kubernetes_each_role_gets_its_own_image_and_resources() -> None:
    fields = {"image": "example.org/cpu:1", "role_images": {"worker": "example.org/gpu:1"}}
    submit = JobSubmit.model_validate(PS_JOB | fields)
    template = Template("jobs", "barograph", "launcher:1", "program:1")
    found = {}
    for group in submit.roles():
        made = manifests.job(template, submit, group, 1, base=0, owner_uid="u")
        (program,) = made["spec"]["template"]["spec"]["containers"]
        found[group] = (program["image"], program["resources"]["limits"]["memory"])
    assert found == {"ps": ("example.org/cpu:1", "1Gi"), "worker": ("example.org/gpu:1", "2Gi")}


def test_a_queued_cluster_gets_what_all_of_its_roles_ask_for() -> None:
    each = {"cpu": 2, "memory": "3Gi"}
    submit = JobSubmit.model_validate(PS_JOB | {"role_resources": {"ps": each, "worker": each}})
    template = Template("jobs", "barograph", "launcher:1", "program:1", queue="research")
    made = manifests.job(template, submit, names.ALL, 3, base=0, owner_uid="u")
    (program,) = made["spec"]["template"]["spec"]["containers"]
    limits = {"cpu": "2", "memory": "3Gi", "ephemeral-storage": "64Gi"}
    assert program["resources"]["limits"] == limits


def test_what_a_program_would_miss_is_refused_on_one_machine_and_the_rest_is_noted(
    desk: Desk,
) -> None:
    desk.ask(
        volumes=[{"path": "/a", "empty": {}}],
        env_from=[{"secret": "a"}],
        env_value_from=[{"name": "A", "field": "metadata.name"}],
        containers=[{"name": "a", "kind": "sidecar"}],
        service_account={"name": "a"},
        image_pull_secrets=["a"],
        role_scheduling={"ps": {"runtime_class": "a"}},
        resources={"storage": "1Gi", "shared_memory": "1Gi"},
    )
    told = desk.answer()
    missed = {"volumes", "env_from", "env_value_from", "containers", "service_account"}
    assert {fault.field for fault in told.faults} == missed
    (note,) = told.notes
    left_out = ("image_pull_secrets", "scheduling", "resources.storage", "resources.shared_memory")
    assert all(field in note for field in left_out)
