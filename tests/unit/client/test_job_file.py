"""A job's own file: what stands in it reaches the program as it is written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.client.job_file import FaultyJobFileError, is_of_kubernetes, read_job_file

JOB = b"""\
name: digits
main: train.py
type: distribute
workers: 2
chief: yes
args: [--lr, 1.10, --country, no, --seed, 010, --steps, 1e3, --when, 2026-11-29, "a b"]
env: {COUNTRY: NO, DEBUG: yes, PORT: 0x10, EMPTY: "", NAME: \xc3\xbcn\xc3\xaf}
resources: {cpu: 500m, memory: 1.5Gi}
role_resources: {chief: {cpu: 2, memory: 512Mi}}
timeouts: {run_s: 3600}
queue:
"""


def test_every_field_is_what_was_written_for_it() -> None:
    body = read_job_file(JOB)
    assert body["args"][1::2] == ["1.10", "no", "010", "1e3", "2026-11-29"]
    assert body["env"] == {
        "COUNTRY": "NO",
        "DEBUG": "yes",
        "PORT": "0x10",
        "EMPTY": "",
        "NAME": "ünï",
    }
    assert (body["workers"], body["chief"]) == (2, True)
    assert body["resources"] == {"cpu": 0.5, "memory": "1536Mi"}
    assert body["role_resources"] == {"chief": {"cpu": 2.0, "memory": "512Mi"}}
    assert body["timeouts"] == {"run_s": 3600.0}
    assert not {"queue", "job_id", "package"} & body.keys()  # nothing is added or left empty


@pytest.mark.parametrize("written", [b"\xef\xbb\xbf" + JOB, JOB.replace(b"\n", b"\r\n")])
def test_other_systems_write_the_same_file_otherwise(written: bytes) -> None:
    assert read_job_file(written) == read_job_file(JOB)


def test_parts_of_a_files_own_hold_its_anchors() -> None:
    body = read_job_file(b"x-big: &big {cpu: 4, memory: 8Gi}\nresources: *big\n")
    assert body == {"resources": {"cpu": 4.0, "memory": "8Gi"}}


def test_json_is_a_job_file_as_well() -> None:
    written = json.dumps(
        {"main": "m.py", "args": ["--lr", 0.1], "ps": 1, "workers": 1, "type": "d"}
    )
    body = read_job_file(written.replace('"d"', '"distribute"').encode())
    assert (body["args"], body["ps"]) == (["--lr", "0.1"], 1)


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("nmae: x\nworker: 2", ["nmae: there is no such field; perhaps name", "perhaps workers"]),
        ("resources: {cpus: 1, memory: 4GB}", ["resources.cpus", "perhaps cpu", "e.g. 512Mi"]),
        ("timeouts: {run: 5}\nps: 1.5", ["timeouts.run", "perhaps run_s", "ps: "]),
        ("args: --lr 0.1\nenv: [A=b]", ["args: must be a list", "env: must be a mapping"]),
        ("main: a.py\nmain: b.py", ["'main' is given twice"]),
        ("main: a.py\n---\nmain: b.py", ["2 documents"]),
        ("main: {{ .main }}", ["render it first"]),
        ("\tmain: a.py", ["not usable YAML"]),
        ("- main: a.py", ["must hold a job's fields"]),
        ("", ["0 documents"]),
    ],
)
def test_every_fault_of_a_file_is_named(written: str, named: list[str]) -> None:
    with pytest.raises(FaultyJobFileError) as caught:
        read_job_file(written.encode())
    assert not [each for each in named if each not in str(caught.value)]


def test_an_object_of_kubernetes_is_none_of_these_files() -> None:
    assert is_of_kubernetes(b"apiVersion: kubeflow.org/v1\nkind: TFJob\n")
    assert not is_of_kubernetes(JOB)
    assert not is_of_kubernetes(b"just text")


@pytest.mark.slow
@given(st.dictionaries(st.from_regex(r"[A-Z]{1,8}", fullmatch=True), st.text(max_size=20)))
def test_any_variable_in_quotes_arrives_as_it_is(env: dict[str, str]) -> None:
    written = json.dumps({"env": env}).encode()
    if any("\x00" in value for value in env.values()):
        with pytest.raises(FaultyJobFileError):
            read_job_file(written)
    else:
        assert read_job_file(written)["env"] == env


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{\n  // the job\n  "main": "a.py"\n}', "comments of // and /\\*"),
        ('{"main": "a.py", // so\n "workers": 2}', "comments of // and /\\*"),
        ('/* the job */\n{"main": "a.py"}', "comments of // and /\\*"),
        ("main: a.py\nresources:\n\u00a0\u00a0cpu: 1\n", "nobody sees, U\\+00A0"),
        ("\u200bmain: a.py\n", "nobody sees, U\\+200B"),
        ("main: a.py\nenv: {A: }\n", "env.A: must be text; put it in quotes"),
        ("main: a.py\nargs: [--x, ~, null]\n", "args.1: must be text; put it in quotes"),
        ("main: a.py\nworkers: 0x10\n", "workers: must be a whole number"),
        ("main: a.py\nttl_s: 7d\n", "ttl_s: must be a number"),
    ],
)
def test_how_it_is_mended_is_said_where_a_reader_cannot_see_what_is_wrong(
    text: str, said: str
) -> None:
    with pytest.raises(FaultyJobFileError, match=said):
        read_job_file(text.encode())


def test_an_address_in_a_file_is_no_comment() -> None:
    with pytest.raises(FaultyJobFileError) as error:
        read_job_file(b'{"main": "a.py", "env": {"A": "http://x/*"}')
    assert "comments" not in str(error.value)
