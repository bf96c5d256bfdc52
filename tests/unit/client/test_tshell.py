"""``tshell`` against the API over HTTP: what is refused is refused before anything is uploaded."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import quote

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from services.client import handlers
from services.client.tshell import submitting, training
from services.client.tshell.app import app
from services.client.tshell.cli import follow
from services.client.tshell.stop import code_of
from shared.client import Client, RefusedError, packages
from shared.client.packages import place
from shared.contracts import Fault, JobFailed, JobPlan, JobPlanned, JobSubmit, JobSucceeded
from shared.service.http import HttpServer
from tests.unit.client.test_api import JOB, NOW, Desk, event


class PlanningDesk(Desk):
    """Answers plans as a task service would."""

    def __init__(self) -> None:
        super().__init__()
        self.runtime, self.faults = "local", ()

    def publish(self, messages, *, cause=None) -> None:
        super().publish(messages)
        for message in messages:
            if isinstance(message, JobPlan):
                self.hear(handlers.job_planned, self.planned(message))

    def planned(self, asked: JobPlan) -> JobPlanned:
        return JobPlanned(
            request_id=asked.request_id,
            runtime=self.runtime,
            faults=self.faults,
            roles=(),
            cpu=1,
            memory_bytes=1,
            fits_now=True,
            at=NOW,
            notes=("jobs run as processes of this machine: image will have no effect",),
        )


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[PlanningDesk]:
    made = PlanningDesk()
    server = HttpServer(made.transport.app, "127.0.0.1", 0)
    server.start()
    monkeypatch.setenv("BAROGRAPH_URL", server.url)
    monkeypatch.setenv("COLUMNS", "80")
    yield made
    server.stop()
    made.store.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "my model" / "code").mkdir(parents=True)
    (tmp_path / "my model" / "code" / "main.py").write_text("print('hello')\n")
    return tmp_path / "my model"


def tshell(*arguments: object) -> tuple[int, str]:
    """Exit code and all that was said."""
    result = CliRunner().invoke(app, [str(each) for each in arguments])
    if result.exception and (code := code_of(result.exception)) is not None:
        return int(code), str(result.exception) + result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def submits(desk: Desk) -> list[Any]:
    return [each for each in desk.sent if isinstance(each, JobSubmit)]


def test_a_job_the_installation_refuses_is_not_uploaded(desk: PlanningDesk, folder: Path) -> None:
    desk.faults = (
        Fault(field="resources.memory", problem="1 x 999Gi is requested; 24576Mi is the quota"),
        Fault(field="resources.cpu", problem="1 x 64 cores are requested; 2 is the quota"),
    )
    code, said = tshell("submit", folder, "-m", "999Gi", "-c", 64)
    assert code == 4
    assert "999Gi is requested" in said
    assert "64 cores are requested" in said
    assert (submits(desk), desk.objects.list("barograph", "") and 0) == ([], 0)


def test_an_option_that_has_no_effect_here_is_told_when_the_job_is_submitted(
    desk: PlanningDesk, folder: Path
) -> None:
    assert desk.runtime == "local"
    _code, said = tshell("submit", folder, "--image", "mine:1")
    assert "note: jobs run as processes of this machine: image will have no effect" in said


@pytest.mark.parametrize(("runtime", "code"), [("local", 4), ("kubernetes", 3)])
def test_a_syntax_error_is_found_before_the_upload(
    desk: PlanningDesk, folder: Path, runtime: str, code: int
) -> None:
    # On Kubernetes the image's Python may be a newer one, so it is a note; the upload then fails
    # here, for the fake store has no HTTP.
    desk.runtime = runtime
    (folder / "code" / "main.py").write_text("def f(:\n")
    refused, said = tshell("submit", folder)
    assert refused == code
    if code == 4:
        assert "main.py, line 1" in said
    assert submits(desk) == []


def test_a_package_that_does_not_exist_is_refused(desk: PlanningDesk) -> None:
    code, said = tshell("submit", "-f", "barograph:packages:none.tar.gz")
    assert code == 4
    assert "no such package" in said
    assert submits(desk) == []


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ("main.py", "main program"),
        ("data", "data"),
    ],
)
def test_what_is_no_package_is_named_before_anybody_is_asked(
    desk: PlanningDesk, folder: Path, wrong: str, named: str
) -> None:
    if wrong == "main.py":
        (folder / "code" / "main.py").unlink()
    else:
        (folder / "data").mkdir()
        (folder / "data" / "x").symlink_to("/etc/hostname-of-nobody")
    for how in (("submit",), ("plan",), ("submit", "--dry-run", "client")):
        code, said = tshell(how[0], folder, *how[1:])
        assert (code, named in said) == (2, True), said
    assert desk.sent == []


def handed(desk: PlanningDesk, **changes: object) -> dict[str, Any]:
    desk.objects.put("barograph", "packages/x.tar.gz", b"x")
    return desk.call("POST", "/api/v1/jobs", json=JOB | changes).json()


def test_an_id_used_again_is_the_same_job_or_an_error(desk: PlanningDesk) -> None:
    assert handed(desk) == {"job_id": "a", "known": False}
    assert handed(desk) == {"job_id": "a", "known": True}
    other = desk.call("POST", "/api/v1/jobs", json=JOB | {"args": ["--more"]})
    assert other.status_code == 409
    sent = len(submits(desk))
    desk.hear(handlers.job_event, event(JobSucceeded, 3, "succeeded"))
    options = ("-f", "barograph:packages:x.tar.gz", "--id", "a")
    code, said = tshell("submit", *options, "-n", "y", "--wait")
    assert code == 4
    assert "belongs to another job, which is succeeded" in said
    assert len(submits(desk)) == sent


def test_the_end_tells_how_long_it_took_why_and_what_is_kept(desk: PlanningDesk) -> None:
    handed(desk)
    told = {
        "reason": "worker-0 ended with exit code 1: NameError: name 'pritn' is not defined",
        "failure_class": "user_error",
        "stored": {"files": 3, "size": 1_234_567},
    }
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", **told))
    for command in (("wait", "a"), ("logs", "-f", "a")):
        code, said = tshell(*command)
        assert code == 1
        assert "a: failed after" in said
        assert "NameError: name 'pritn' is not defined" in said
        assert "3 files (1,234,567 bytes) are stored: tshell get a" in said
        assert "kept until" in said
    assert "NameError" in tshell("status", "a")[1]
    assert "NameError" in " ".join(tshell("ls")[1].split())


def test_a_name_that_one_job_has_means_it_although_ids_of_others_begin_so(
    desk: PlanningDesk,
) -> None:
    for number, name in (("job-aa11", "job"), ("job-aa22", "two"), ("job-bb", "two")):
        handed(desk, job_id=number, name=name)
    assert "job-aa11" in tshell("describe", "job")[1]
    handed(desk, job_id="other", name="job")
    code, said = tshell("status", "job")
    assert code == 2
    assert all(each in said for each in ("job-aa11", "job-aa22", "job-bb", "other"))


def test_jobs_are_found_by_the_beginning_of_their_id_and_by_name(desk: PlanningDesk) -> None:
    for number, name in (("job-aa11", "one"), ("job-aa22", "two"), ("job-bb", "two")):
        handed(desk, job_id=number, name=name)
    assert json.loads(tshell("status", "job-b", "--json")[1])["job_id"] == "job-bb"
    assert json.loads(tshell("status", "one", "--json")[1])["job_id"] == "job-aa11"
    for many in ("job-aa", "two"):
        code, said = tshell("status", many)
        assert (code, "job-aa22  submitted, submitted 20" in said) == (2, True)
    for nobody in ("job-c", "../x", "%2e", " ", ""):
        assert tshell("status", nobody)[0] in {2, 5}


class FollowedJobs:
    """An API whose job waits, runs and prints, and whose reader then goes away."""

    def call(self, method: str, path: str) -> dict[str, Any]:
        return {"submit": {"type": "single"}}

    def events(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "state", {"state": "pending", "reason": "it waits behind job b", "advice": "wait"}
        yield "state", {"state": "running", "reason": "every member runs", "advice": ""}
        yield "log", {"member": "worker-0", "incarnation": 1, "text": "step 1\n"}
        raise KeyboardInterrupt


def test_who_follows_a_job_reads_why_it_waits_and_what_an_interrupt_leaves_running(
    capsys: pytest.CaptureFixture[str],
) -> None:
    client = cast("Client", SimpleNamespace(jobs_api=FollowedJobs()))
    with pytest.raises(KeyboardInterrupt):
        follow(client, "a", as_json=False)
    out, err = capsys.readouterr()
    assert out == "step 1\n"
    assert "a: pending: it waits behind job b. wait\na: running: every member runs\n" in err
    assert "tshell logs -f a" in err
    assert "tshell cancel a" in err


def test_ids_are_never_cut(desk: PlanningDesk) -> None:
    long = "train-resnet50-2026-11-28-run-0017-of-the-long-series"
    handed(desk, job_id=long)
    assert long in tshell("ls")[1]
    assert long in tshell("top")[1]


def test_what_has_ended_is_not_cancelled_and_no_match_is_said(desk: PlanningDesk) -> None:
    handed(desk)
    assert tshell("cancel", "a") == (0, "a: cancellation requested\n")
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    sent = len(desk.sent)
    assert tshell("cancel", "a") == (0, "a is failed already; nothing was cancelled\n")
    assert len(desk.sent) == sent
    assert "no job matches" in tshell("ls", "--search", "nothing")[1]


def test_an_upload_into_a_log_draws_no_bar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(b"12345")

    class Taking:
        def upload_archive(
            self, _path: Path, _digest: str, _project: str, sent: Callable[[int], None]
        ) -> str:
            sent(5)
            return "barograph:packages:x.tar.gz"

    submitting._upload(Taking(), archive, "", "", quiet=False)
    said = capsys.readouterr()
    assert said.out + said.err == ""


def test_states_may_stand_in_one_word(desk: PlanningDesk) -> None:
    handed(desk, job_id="b")
    handed(desk)
    desk.hear(handlers.job_event, event(JobFailed, 3, "failed", failure_class="unknown"))
    listed = json.loads(tshell("ls", "--state", "failed,succeeded", "--json")[1])["jobs"]
    assert [each["job_id"] for each in listed] == ["a"]
    assert tshell("ls", "--state", "broken")[0] == 2


def test_a_job_is_run_again_as_a_new_one(desk: PlanningDesk) -> None:
    handed(desk, args=["--steps=5"], env={"A": "1"})
    assert tshell("rerun", "a", "-m", "4Gi", "--id", "again")[0] == 0
    first, second = submits(desk)
    assert (second.job_id, second.resources.memory) == ("again", "4Gi")
    same = {"job_id", "resources"}
    assert first.model_dump(exclude=same) == second.model_dump(exclude=same)


def test_what_a_job_left_is_listed_by_folder(desk: PlanningDesk) -> None:
    handed(desk)
    for key in ("model/a.bin", "model/v2/b.bin", "output/c.csv", "logs/worker-0/1/00000000.log"):
        desk.objects.put("barograph", f"jobs/a/{key}", b"xyz")
    files = json.loads(tshell("get", "a", "--list", "--json")[1])["files"]
    assert [each["path"] for each in files] == ["model/a.bin", "model/v2/b.bin", "output/c.csv"]
    assert "model/v2/b.bin" in tshell("get", "a", "--list", "--path", "model/v2")[1]
    assert tshell("get", "a", "--path", "model/v")[0] == 5
    page = desk.call("GET", "/api/v1/jobs/a/results?limit=2").json()
    rest = desk.call("GET", "/api/v1/jobs/a/results", params={"after": page["next_after"]}).json()
    assert [each["path"] for each in rest["files"]] == ["output/c.csv"]


@pytest.mark.parametrize("name", ["a\u202fb.png", "a\u00a0b", "\u200d", "磁盘 %2e#?.h5", "-x"])
def test_whatever_was_stored_can_be_fetched(desk: PlanningDesk, name: str) -> None:
    handed(desk)
    desk.objects.put("barograph", f"jobs/a/model/{name}", b"x")
    (file,) = desk.call("GET", "/api/v1/jobs/a/results").json()["files"]
    fetched = desk.call("GET", f"/api/v1/jobs/a/results/{quote(file['path'])}")
    assert fetched.status_code == 307
    assert place(Path("to"), file["path"]) == Path("to/model") / name


@pytest.mark.parametrize(
    "path",
    [
        "logs/worker-0/1/00000000.log",
        "model/../logs/x",
        "../b/model/x",
        "model//x",
        "model/",
        "%00",
        "model/..%5c..%5cb%5cmodel%5cx",
        "model%5c..%5c..%5cb%5cmodel%5cx",
        "model/%5c",
    ],
)
def test_only_results_are_given_out(desk: PlanningDesk, path: str) -> None:
    handed(desk)
    desk.objects.put("barograph", "jobs/a/logs/worker-0/1/00000000.log", b"x")
    desk.objects.put("barograph", "jobs/b/model/x", b"x")
    quoted = path.replace("..", "%2e%2e").replace("//", "%2f%2f")
    assert desk.call("GET", f"/api/v1/jobs/a/results/{quoted}").status_code == 404


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a/../../x", "model//x", "link/x", "."])
def test_nothing_is_written_outside_of_its_folder(tmp_path: Path, path: str) -> None:
    (tmp_path / "to").mkdir()
    (tmp_path / "to" / "link").symlink_to("/tmp")
    with pytest.raises(RefusedError, match="outside"):
        place(tmp_path / "to", path)


def test_event_files_are_shown_by_tensorboard_where_there_are_any(
    desk: PlanningDesk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    handed(desk)
    shown = tmp_path / "shown"
    program = tmp_path / "bin" / "tensorboard"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.setattr(training.importlib.util, "find_spec", lambda _: None)
    code, said = tshell("tensorboard", "a")
    assert (code, "pip install tensorboard" in said) == (2, True)
    program.write_text(f'#!/bin/sh\necho "$@" > {shown}\nexit 7\n')
    program.chmod(0o755)
    code, said = tshell("tensorboard", "a")
    assert (code, "has left no event files" in said) == (5, True)
    desk.objects.put("barograph", "jobs/a/output/logs/events.out.tfevents.1.host", b"x")
    monkeypatch.setattr(packages, "fetch", lambda *said: (said[1].write_bytes(b"x"), None))
    assert tshell("tensorboard", "a", "--port", 7007, "-o", tmp_path / "to")[0] == 7
    assert (tmp_path / "to/output/logs/events.out.tfevents.1.host").read_bytes() == b"x"
    assert shown.read_text() == f"--logdir {tmp_path / 'to'} --host 127.0.0.1 --port 7007\n"


def test_the_version_is_told(desk: PlanningDesk) -> None:
    code, said = tshell("--version")
    assert (code, said.startswith("tshell ")) == (0, True)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BAROGRAPH_URL", "http://["),
        ("BAROGRAPH_URL", "localhost"),
        ("BAROGRAPH_URL", "http://127.0.0.1:99999"),
        ("BAROGRAPH_TOKEN", "tökén"),
        ("BAROGRAPH_TOKEN", "a\nb"),
    ],
)
def test_an_address_or_a_token_that_cannot_be_used_is_told(
    desk: PlanningDesk, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    code, said = tshell("ls")
    assert code in {2, 3}
    assert said


def test_an_argument_that_is_no_text_is_refused_in_words(desk: PlanningDesk, folder: Path) -> None:
    code, said = tshell("submit", folder, "--arg", "caf\udce9")
    assert code in {2, 4}
    assert "surrogate" in said or "unicode" in said.lower()
    assert submits(desk) == []


def test_requirements_are_said_not_to_be_installed(desk: PlanningDesk, folder: Path) -> None:
    assert "not installed" not in tshell("submit", folder, "--dry-run", "client")[1]
    (folder / "code" / "requirements.txt").write_text("tqdm\n")
    code, said = tshell("submit", folder, "--dry-run", "client")
    assert (code, "requirements.txt is not installed for the job" in said) == (0, True)


def test_a_program_that_an_editor_saved_as_utf_16_is_named(
    desk: PlanningDesk, tmp_path: Path
) -> None:
    (tmp_path / "job/code").mkdir(parents=True)
    (tmp_path / "job/code/main.py").write_bytes("print(1)".encode("utf-16"))
    code, said = tshell("submit", tmp_path / "job", "-d", "main.py")
    assert (code, "main.py holds NUL characters" in said) == (4, True), said


def test_a_program_of_another_language_has_no_syntax_error_beside(
    desk: PlanningDesk, folder: Path
) -> None:
    desk.faults = (Fault(field="main", problem="must name a Python file (.py)"),)
    (folder / "code" / "train.sh").write_text("#!/bin/bash\necho hello $(date)\n")
    code, said = tshell("submit", folder, "-d", "train.sh")
    assert (code, said.count("refused")) == (4, 1)


def test_jobs_are_searched_by_id_and_name_and_completed_by_a_shell(desk: PlanningDesk) -> None:
    for job, name in (("first-1", "Digits"), ("other-2", "digits-ps"), ("first-3", "mnist")):
        ended = event(JobSucceeded, 3, "succeeded").model_copy(update={"job_id": job, "name": name})
        desk.hear(handlers.job_event, ended)
    found = json.loads(tshell("ls", "--search", "DIGITS", "--json")[1])["jobs"]
    assert {each["job_id"] for each in found} == {"first-1", "other-2"}
    assert len(json.loads(tshell("ls", "--search", "i", "--limit", 1, "--json")[1])["jobs"]) == 1
    command = get_command(app).commands["logs"]
    offered = command.params[0].shell_complete(command.make_context("logs", ["x"]), "first")
    assert {each.value for each in offered} == {"first-1", "first-3"}


def test_sentences_of_help_end_where_the_terminal_does_not_where_the_source_does() -> None:
    shown = CliRunner().invoke(
        app, ["submit", "--help"], terminal_width=200, env={"COLUMNS": "200"}
    )
    assert "from a kubeflow.org/v1 TFJob. Options override them, and a FOLDER" in shown.output
