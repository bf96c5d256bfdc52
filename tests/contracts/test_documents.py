"""The generated documents say what the code says, and a public validator agrees."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from shared.contracts import JobSubmit, Message, message_types
from shared.documents import generated_files, stale_files
from shared.documents.asyncapi import message_schema
from shared.documents.settings_page import service_settings
from shared.settings import ServiceSettings
from shared.topology import ROUTES
from tests.foreign import run_node

_ROOT = Path(__file__).parents[2]


def test_every_generated_file_is_fresh() -> None:
    assert stale_files(_ROOT) == [], "run `make generate`"


def test_a_changed_file_is_found_to_be_stale(tmp_path: Path) -> None:
    for path, text in generated_files().items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    assert stale_files(tmp_path) == []
    changed = tmp_path / "docs/reference/messages.md"
    changed.write_text(changed.read_text() + "x")
    left = tmp_path / "docs/reference/remediations/gone.md"
    left.write_text("of a remediation that is no more")
    assert stale_files(tmp_path) == [changed.relative_to(tmp_path), left.relative_to(tmp_path)]


_SETTINGS = dict(service_settings(_ROOT))


@pytest.mark.parametrize("service", _SETTINGS)
def test_what_the_page_of_settings_says_can_be_set_so(
    service: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = re.compile(rf"\| `(BAROGRAPH_{service.upper()}_\w+)` \| [^|]+ \| `([^`]+)` \|")
    page = generated_files()[Path("docs/reference/settings.md")]
    found = row.findall(page)
    for name, value in found:
        monkeypatch.setenv(name, value.replace("\\|", "|"))
    assert _SETTINGS[service].load(service) == _SETTINGS[service]()
    own = set(_SETTINGS[service].model_fields) - set(ServiceSettings.model_fields)
    assert all(f"| `BAROGRAPH_{service.upper()}_{field.upper()}` |" in page for field in own)


def test_the_asyncapi_document_is_valid_for_the_public_parser() -> None:
    result = run_node("validate_asyncapi.mjs", str(_ROOT / "docs/reference/asyncapi.json"))
    assert result.returncode == 0, result.stdout + result.stderr


def test_the_public_parser_refuses_a_broken_document(tmp_path: Path) -> None:
    document = json.loads((_ROOT / "docs/reference/asyncapi.json").read_text())
    document["operations"]["taskSendsJobAccepted"]["action"] = "shout"
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(document))
    assert run_node("validate_asyncapi.mjs", str(broken)).returncode == 1


@pytest.mark.parametrize("message", message_types().values(), ids=lambda cls: cls.TYPE)
def test_every_message_has_a_valid_schema_with_described_purpose(message: type[Message]) -> None:
    schema = message_schema(message)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema.get("description"), "a message class needs a docstring"


def test_every_message_is_in_the_topology_and_the_other_way_round() -> None:
    assert {route.message for route in ROUTES} == set(message_types().values())


def test_the_published_schema_accepts_what_the_model_accepts() -> None:
    validator = jsonschema.Draft202012Validator(message_schema(JobSubmit))
    minimal = {"job_id": "a", "name": "n", "package": "barograph:packages:a.tar.gz", "main": "m.py"}
    validator.validate(minimal)
    assert JobSubmit.model_validate(minimal).type == "single"


@pytest.mark.parametrize("message", message_types().values(), ids=message_types())
def test_subject_and_identity_of_a_message_are_fields_of_it(message: type[Message]) -> None:
    named = {*message.DEDUPE_BY, *([message.SUBJECT] if message.SUBJECT else [])}

    assert named <= message.model_fields.keys()


@pytest.mark.parametrize("message", message_types().values(), ids=message_types())
def test_a_decision_that_is_taken_back_and_made_again_is_no_repetition(
    message: type[Message],
) -> None:
    """Somebody may say yes, no and yes again: the third is told from the first by its time."""
    fields = message.model_fields
    choice = any(field.annotation is bool and field.is_required() for field in fields.values())
    if message.DEDUPE_BY and choice and {"by", "at"} <= fields.keys():
        assert {"at", "sequence", "label_id", "switch_id"} & set(message.DEDUPE_BY)
