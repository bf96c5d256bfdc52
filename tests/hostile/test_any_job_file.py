"""Whatever a file holds, submitting it ends in one clear error or in the right job."""

from __future__ import annotations

import codecs
import copy
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from typer.testing import CliRunner

from services.client import wording
from services.client.tshell.app import app
from services.client.tshell.stop import code_of
from shared.contracts import JobSubmit
from shared.tfjob import NotImportableError, import_tfjob
from shared.tfjob.run_command import variables
from tests.unit.client.test_tfjob import PS_JOB, container, submit, tfjob

MAX_CPU_S = 20.0
"""Far above what any of these takes, far below what an unbounded one would."""


def handed_in(file: Path) -> tuple[int, str]:
    """Exit code and what is said; any exception but the command's own is a fault of this test."""
    result = CliRunner().invoke(app, ["submit", "-f", str(file), "--dry-run", "client"])
    if result.exception and (code := code_of(result.exception)) is not None:
        return int(code), str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def answered(data: bytes, **options: bool) -> JobSubmit | None:
    """The job the bytes stand for, None where they are refused in words."""
    faults: list[str] = []
    try:
        return submit(import_tfjob(data, **options))
    except NotImportableError as refused:
        faults = refused.faults
    except ValidationError as refused:  # the contract names each field
        faults = [each.problem for each in wording.faults(refused.errors())]
    assert faults
    assert all(0 < len(each) < 5_000 for each in faults)
    return None


ALIASES = "\n".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))
MERGES = "\n".join(
    f"m{n}: &m{n} {{<<: [*m{n - 1}, *m{n - 1}], k{n}: *m{n - 1}}}" for n in range(1, 40)
)
BAD = {
    "aliases that unfold into 10^11 values": f"a0: &a0 [x, x]\n{ALIASES}".encode(),
    "merges that double": f"m0: &m0 {{a: 1}}\n{MERGES}".encode(),
    "an alias inside its own anchor": b"a: &a [*a]",
    "a merge of itself": b"a: &a {<<: *a}",
    "100,000 brackets": b"[" * 100_000,
    "100,000 braces": b"{a: " * 100_000,
    "100,000 nested lists of JSON": b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep blocks": b"\n".join(b" " * n + b"- " for n in range(2_000)),
    "too large": b"a: " + b"x" * (2**20 + 1),
    "a number of 5,000 digits": b"spec: " + b"9" * 5_000,
    "the same in JSON": b'{"spec": ' + b"9" * 5_000 + b"}",
    "a number that is endless": b"spec: .inf",
    "a number that is endless in JSON": b'{"spec": 1e999}',
    "base 60": b"spec: 1:" + b"59:" * 100 + b"0",
    "an unrendered template": b"metadata:\n  name: {{ .Values.name }}\n",
    "a character beyond Unicode": b'a: "\\U040D3D68"',
    "a character beyond a machine's numbers": b'a: "\\UFFFFFFFF"',
    "a list as key": b"? [a]\n: b",
    "a mapping as key": b"{{a: b}: c}",
    "conditions of a template": b"spec:\n{% if ps %}\n  a: b\n{% endif %}\n",
    "a field given twice": b"spec: {}\nspec: {}\n",
    "a field given twice in JSON": b'{"spec": {}, "spec": {}}',
    "a date": b"2026-11-28",
    "a binary tag": b"spec: !!binary aGVsbG8=",
    "a set": b"spec: !!set {a, b}",
    "a tag of Python's": b"spec: !!python/object/apply:os.system [true]",
    "half a surrogate pair": b'metadata: {name: "\\ud800"}',
    "half a surrogate pair in JSON": b'{"metadata": {"name": "\\ud800"}}',
    "a NUL character": b'metadata: {name: "a\\0b"}',
    "an archive": b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xed\xc1",
    "Latin-1": "metadata: {name: übung}".encode("latin-1"),
    "nothing": b"",
    "a byte order mark alone": codecs.BOM_UTF8,
    "half a UTF-16 character": codecs.BOM_UTF16_LE + b"a",
    "a number": b"42",
    "a list": b"- a\n- b",
    "two documents": PS_JOB + b"\n---\n" + PS_JOB,
    "an alias of nothing": b"spec: *nobody",
    "an escape code in a field's name": b'"\\e]0;title\\a": 1',
}


@pytest.mark.parametrize("what", BAD)
def test_a_file_that_is_no_job_gets_one_clear_error(what: str, tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_bytes(BAD[what])
    began = time.process_time()
    code, said = handed_in(file)
    assert code == 2, said
    assert 0 < len(said.strip()) < 5_000
    assert "\x1b]" not in said
    assert time.process_time() - began < MAX_CPU_S


GOOD = {
    "as it is": PS_JOB,
    "byte order mark and CRLF": codecs.BOM_UTF8 + PS_JOB.replace(b"\n", b"\r\n"),
    "UTF-16, as Windows' shell writes it": PS_JOB.decode().encode("utf-16"),
    "JSON": json.dumps(yaml.safe_load(PS_JOB)).encode(),
    "JSON with tabs": json.dumps(yaml.safe_load(PS_JOB), indent="\t").encode(),
    "an empty document after it": PS_JOB + b"\n---\n",
    "comments": b"# digits\n" + PS_JOB,
}


@pytest.mark.parametrize("what", GOOD)
def test_a_job_is_read_however_it_is_written(what: str, tmp_path: Path) -> None:
    file = tmp_path / "job.JSON"
    file.write_bytes(GOOD[what])
    code, said = handed_in(file)
    assert code == 0, said
    assert answered(GOOD[what]) == answered(PS_JOB)


def test_words_with_colons_are_no_numbers_to_the_base_of_60() -> None:
    written = PS_JOB.replace(b'["--steps=$(STEPS)"]', b"[--at, 12:30, 1:2:3, 10:30.5]")
    found = import_tfjob(written.replace(b'"100"', b"1:30"))
    for command in found.commands.values():
        assert command["argv"][2:] == ["--at", "12:30", "1:2:3", "10:30.5"]
        assert command["env"] == [("STEPS", "1:30")]


def test_a_limit_without_a_value_asks_for_nothing() -> None:
    found = import_tfjob(PS_JOB.replace(b"memory: 1Gi", b"memory: null"))
    assert found.body["role_resources"]["ps"] == {"cpu": 0.5}


def test_a_limit_of_zero_asks_for_nothing() -> None:
    limits = b"{cpu: 0, memory: '0', amd.com/gpu: 0, nvidia.com/gpu: 1}"
    found = import_tfjob(PS_JOB.replace(b"{cpu: 500m, memory: 1Gi}", limits))
    assert found.body["role_resources"]["ps"] == {"gpu": 1, "gpu_resource": "nvidia.com/gpu"}


def test_a_network_card_is_not_taken_for_the_gpu_beside_it() -> None:
    limits = b"{rdma/hca: 1, nvidia.com/gpu: 4}"
    with pytest.raises(NotImportableError, match=r"rdma/hca: not supported"):
        import_tfjob(PS_JOB.replace(b"{cpu: 500m, memory: 1Gi}", limits))
    found = import_tfjob(PS_JOB.replace(b"{cpu: 500m, memory: 1Gi}", limits), force=True)
    assert found.body["role_resources"]["ps"] == {"gpu": 4, "gpu_resource": "nvidia.com/gpu"}


@pytest.mark.parametrize("memory", ["512m", "2", "100Ki"])
def test_memory_in_which_nothing_runs_is_refused_with_the_unit_that_was_meant(memory: str) -> None:
    with pytest.raises(NotImportableError, match="write Mi or Gi"):
        import_tfjob(PS_JOB.replace(b"memory: 1Gi", f"memory: '{memory}'".encode()))


def test_typographic_quotes_are_named_before_a_program_of_that_name_is_looked_for() -> None:
    written = PS_JOB.replace(b"[python3, /opt/train.py]", "[“python3”, /opt/train.py]".encode())
    with pytest.raises(NotImportableError, match="typographic quotes around “python3”"):
        import_tfjob(written)


def test_a_script_of_a_shell_is_not_taken_for_a_file_of_the_package() -> None:
    script = b"[sh, -c, 'cd /opt && python3 train.py']"
    found = import_tfjob(PS_JOB.replace(b"[python3, /opt/train.py]", script))
    assert not [note for note in found.notes if "looked for in the package" in note]


@pytest.mark.parametrize("name", [20261128, True, 1.5, ["digits"], {"a": "b"}])
def test_a_name_in_another_form_is_not_called_missing(name: object) -> None:
    with pytest.raises(NotImportableError) as refused:
        import_tfjob(tfjob(lambda job: job["metadata"].update(name=name)))
    assert refused.value.faults == ["metadata.name: must be text; put a number or a date in quotes"]


@pytest.mark.parametrize("command", ["python3 /opt/train.py", {"0": "python3"}, 1])
def test_a_command_in_another_form_is_not_called_missing(command: object) -> None:
    with pytest.raises(NotImportableError) as refused:
        import_tfjob(tfjob(lambda job: container(job).update(command=command)))
    (fault,) = refused.value.faults
    assert fault.endswith("command: must be a list, e.g. [python3, train.py]")


def test_a_list_of_one_job_is_that_job_and_of_more_is_refused_in_one_sentence() -> None:
    job = yaml.safe_load(PS_JOB)
    listed = {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}}
    one = import_tfjob(json.dumps(listed | {"items": [job]}).encode())
    assert one == import_tfjob(PS_JOB)
    for items in ([], [job, job]):
        with pytest.raises(NotImportableError, match=f"a List of {len(items)} objects"):
            import_tfjob(json.dumps(listed | {"items": items}).encode())


@pytest.mark.parametrize("name", ["spring.profiles.active", "cluster-name", "_A", "-x", ".a"])
def test_variables_have_every_name_that_kubernetes_takes(name: str) -> None:
    env = [{"name": name, "value": "1"}, {"name": "REF", "value": f"$({name})"}]
    found = import_tfjob(tfjob(lambda job: container(job).update(env=env)))
    assert submit(found)
    (command,) = [each for each in found.commands.values() if dict(each["env"]).get(name)]
    assert variables(command["env"], {})["REF"] == "1"


@pytest.mark.parametrize(
    "name", ["", "4K", "a:b", "a b", "..", "..a", ".", "A=B", "A\n", "x" * 129]
)
def test_what_no_variable_can_be_called_is_named(name: str) -> None:
    with pytest.raises(NotImportableError, match=r"env\[0\]\.name: must be a variable's name"):
        import_tfjob(tfjob(lambda job: container(job).update(env=[{"name": name, "value": "1"}])))


def test_a_variable_with_two_values_is_refused_as_by_kubernetes() -> None:
    field = {"fieldRef": {"fieldPath": "metadata.name"}}
    env = [{"name": "A", "value": "x", "valueFrom": field}]
    with pytest.raises(NotImportableError, match="has a value and valueFrom"):
        import_tfjob(tfjob(lambda job: container(job).update(env=env)))


@pytest.mark.parametrize(
    "change",
    [{"args": ["x" * 131_072]}, {"env": [{"name": "A", "value": "x" * 131_070}]}],
    ids=["argument", "variable"],
)
def test_what_no_program_can_be_started_with_is_refused_before(change: dict[str, Any]) -> None:
    with pytest.raises(NotImportableError, match="no program can be started"):
        import_tfjob(tfjob(lambda job: container(job).update(change)))


@pytest.mark.parametrize("command", ["python3 /opt/train.py", "/bin/sh -c true"])
def test_a_command_in_one_word_is_refused(command: str) -> None:
    with pytest.raises(NotImportableError, match="give each word by itself"):
        import_tfjob(tfjob(lambda job: container(job).update(command=[command])))


def test_an_option_and_its_value_in_one_argument_are_noted() -> None:
    args = ["--master k8s://https://10.96.0.1", "--name=x", "-c", "echo --a b", "--message=a b"]
    found = import_tfjob(tfjob(lambda job: container(job).update(args=args)))
    noted = [note for note in found.notes if "are two" in note]
    assert len(noted) == 1
    assert "--master k8s" in noted[0]


@pytest.mark.parametrize("force", [False, True])
def test_of_many_faults_or_notes_the_first_are_told_and_how_many_more(force: bool) -> None:
    odd = tfjob(lambda job: container(job).update({f"odd{n}": 1 for n in range(5000)}))
    try:
        said = import_tfjob(odd, force=force).notes
    except NotImportableError as refused:
        said = tuple(refused.faults)
    assert len(said) == 101
    assert said[-1].startswith("and 49")


def test_no_file_gets_a_traceback_from_the_command_itself(tmp_path: Path) -> None:
    (tmp_path / "helm.yaml").write_bytes(BAD["an unrendered template"])
    for file in ("helm.yaml", "", "none.yaml", ".", "/dev/null.yaml"):
        command = [sys.executable, "-m", "services.client.tshell", "submit", "-f"]
        path = str(tmp_path / file) if file else str(tmp_path)
        ran = subprocess.run(
            [*command, path, "--dry-run", "client"], capture_output=True, text=True, check=False
        )
        assert (ran.returncode, "Traceback" in ran.stderr) == (2, False), ran.stderr


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.dates()
    | st.sampled_from(["$(X)", "1Gi", "Worker", "tensorflow", "-1", "true"]),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
PATHS = st.lists(st.integers(0, 10), min_size=1, max_size=9)


def changed(document, path: list[int], value):
    """The document with something else at one place."""
    here = document
    for step in path[:-1]:
        keys = list(here) if isinstance(here, dict) else list(range(len(here)))
        inner = here[keys[step % len(keys)]] if keys else None
        if not isinstance(inner, dict | list) or not inner:
            break
        here = inner
    keys = list(here) if isinstance(here, dict) else list(range(len(here)))
    if keys:
        here[keys[path[-1] % len(keys)]] = value
    return document


@settings(max_examples=150, deadline=None)
@given(path=PATHS, value=VALUES, force=st.booleans(), own_code=st.booleans())
def test_a_job_with_anything_anywhere_is_answered(path, value, force: bool, own_code: bool) -> None:
    document = changed(copy.deepcopy(yaml.safe_load(PS_JOB)), path, value)
    data = yaml.safe_dump(document, sort_keys=False, allow_unicode=True).encode()
    answered(data, force=force, own_code=own_code)


@settings(max_examples=150, deadline=None)
@given(position=st.integers(0, len(PS_JOB)), cut=st.integers(0, 30), put=st.binary(max_size=30))
def test_a_job_with_some_bytes_changed_is_answered(position: int, cut: int, put: bytes) -> None:
    answered(PS_JOB[:position] + put + PS_JOB[position + cut :])


YAMLISH = st.text(alphabet="ab:-?,[]{}&*!|>'\"%@`#~<= \n\t0.1\ufeff\u2028\x85", max_size=60)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(YAMLISH | st.text(max_size=60))
def test_any_text_is_answered(text: str) -> None:
    answered(text.encode(errors="surrogatepass"))
