"""`barograph alerts`, `forecasts`, `acknowledge`, `silences` against the healer's API over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from services.healer.model.incident import INCIDENTS
from shared.changes import with_changes
from shared.cli.application import app
from shared.client import BadInputError, Client, NotFoundError
from shared.service.http import HttpServer
from tests.documented import program
from tests.unit.healer.test_api import Door, posted
from tests.unit.healer.test_incidents import NOW, prediction


@pytest.fixture
def door(monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    made = Door()
    server = HttpServer(made.http.app, "127.0.0.1", 0)
    server.start()
    monkeypatch.setenv("BAROGRAPH_HEALER_URL", server.url)
    monkeypatch.setenv("COLUMNS", "160")
    yield made
    server.stop()


def barograph(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def named(name: str, severity: str, instance: str = "db7:9100") -> dict[str, object]:
    labels = {"alertname": name, "instance": instance, "severity": severity}
    return posted(
        labels=labels, annotations={"summary": f"{name} is [bold]open[/bold]\x1b]0;x\x07"}
    )


def test_open_alerts_are_shown_the_most_severe_first(door: Door) -> None:
    assert barograph("alerts") == (0, "no alert is open\n")
    door.post(named("Slow", "warning"), named("Down", "critical"), named("Odd", "info", "web1"))
    code, said = barograph("alerts")
    assert code == 0
    assert said.index("Down is") < said.index("Slow is") < said.index("Odd is")
    assert "\x1b" not in said
    assert "[bold]" in said  # what machines sent is no markup
    assert "Odd is" in barograph("alerts", "--host", "web1")[1]
    assert "Slow" not in barograph("alerts", "--severity", "critical,info")[1]
    assert "Down" in barograph("alerts", "--item", "Down")[1]
    found = json.loads(barograph("alerts", "--json")[1])
    assert [each["severity"] for each in found] == ["critical", "warning", "info"]
    assert barograph("alerts", "--severity", "bad")[0] == 1


def test_an_alert_is_acknowledged_and_explained_by_the_beginning_of_its_id(door: Door) -> None:
    door.post(named("Down", "critical"))
    (alert,) = json.loads(barograph("alerts", "--json")[1])
    short = alert["incident_id"][:8]
    assert barograph("acknowledge", short)[0] == 0
    assert "acknowledged" in barograph("alerts")[1]
    assert alert["incident_id"] in barograph("why", short)[1]
    assert barograph("acknowledge", "0000")[0] == 1
    door.post({**named("Down", "critical"), "endsAt": NOW.isoformat()})
    assert barograph("alerts") == (0, "no alert is open\n")
    assert alert["incident_id"] in barograph("why", short)[1]
    with door.desk.store.transaction() as records:
        ended = records.get(INCIDENTS, alert["incident_id"])
        assert ended is not None
        records.put(INCIDENTS, with_changes(ended, incident_id=f"{short}-another"))
    code, said = barograph("why", short)
    assert code == 1
    assert f"{short}-another; give more of the id" in said


def test_predictions_are_shown_by_when_they_are_due(door: Door) -> None:
    assert barograph("forecasts") == (0, "no alarm is predicted\n")
    for number, host in ((1, "sooner"), (2, "later")):
        foretold = prediction(number, seconds=60 * number)
        series = foretold.series.model_copy(update={"host": host})
        sentence = f"{host} will cross"
        door.desk.take(foretold.model_copy(update={"series": series, "sentence": sentence}))
    door.post(named("Down", "critical"))
    code, said = barograph("forecasts")
    assert code == 0
    assert said.index("sooner") < said.index("later")
    assert "Down" not in said


def test_a_silence_is_tried_made_listed_and_ended(door: Door) -> None:
    door.post(named("Down", "critical"))
    assert (
        "it would mute 1 open alert," in barograph("silences", "add", 'host="DB7"', "--preview")[1]
    )
    assert barograph("silences", "list")[1].count("db7") == 0
    code, said = barograph("silences", "add", 'host="db7"', "--for", "1d12h", "--reason", "move")
    assert (code, "mutes 1 open alert," in said) == (0, True)
    assert 'host="db7"' in barograph("silences", "list")[1]
    assert barograph("silences", "end", said.splitlines()[-1].split()[0])[0] == 0
    for wrong in (["host=a,b"], ['host="a"', "--for", "2 hours"], ['host="a"', "--for", "0m"]):
        assert barograph("silences", "add", *wrong)[0] == 1


def test_the_documented_program_acknowledges_and_mutes(
    door: Door, capsys: pytest.CaptureFixture[str]
) -> None:
    door.post(named("Down", "critical"))
    exec(program("docs/how-to/use-from-python.md", 2))
    said = capsys.readouterr().out
    assert "critical firing Down is" in said
    assert "1 would be muted" in said
    assert "['new disks']" in said
    with Client() as client:
        assert [each.acknowledged for each in client.alerts()] == [True]
        with pytest.raises(BadInputError) as refused:
            client.silence(["host=a,b"], timedelta(hours=1), reason="no matcher")
        assert refused.value.faults
        with pytest.raises(NotFoundError):
            client.end_silence("nobody's")


def test_an_id_that_is_no_text_ends_a_command_in_words(door: Door) -> None:
    for command in (["acknowledge", "\udcff"], ["silences", "end", "\udcff"]):
        code, said = barograph(*command)
        assert (code, "bytes that are no text" in said) == (1, True), said
    assert barograph("why", "\udcff/..")[0] in {0, 1}
