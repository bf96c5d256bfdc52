"""A machine has one name, however the doors hear of it."""

from __future__ import annotations

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from services.healer.agent.settings import AgentSettings
from shared.contracts import MetricBatch
from shared.contracts.alerts import SeriesRef
from shared.contracts.healing import HostPattern
from shared.contracts.message import HostName
from shared.machine import MAX_LENGTH, UNKNOWN, machine_for, machine_of


@pytest.mark.parametrize(
    ("written", "machine"),
    [
        ("web1", "web1"),
        ("web1:9100", "web1"),
        ("WEB1.Example.COM:9100", "web1.example.com"),
        ("web1.example.com.:9100", "web1.example.com"),
        ("x..:1", "x"),
        ("localhost:", "localhost"),
        ("build_agent_3:9100", "build_agent_3"),
        ("db01:5432/orders", "db01"),
        ("db01:5432:6432", "db01"),
        ("https://www.example.com/health", "www.example.com"),
        ("http://user:secret@example.com:8080/a?b=c", "example.com"),
        ("//example.com:80", "example.com"),
        ("10.0.0.1:9100", "10.0.0.1"),
        ("10.0.0.1/24", "10.0.0.1"),
        ("2001:db8::17", "2001:db8::17"),
        ("[2001:db8::17]", "2001:db8::17"),
        ("[2001:DB8:0:0::17]:9100", "2001:db8::17"),
        ("2001:db8:0:0:0:0:0:17", "2001:db8::17"),
        ("2001:db8:0:0:0:0:0:17:9100", "2001:db8::17"),
        ("2001:db8:0:0:0:0:0:18", "2001:db8::18"),
        ("http://[2001:db8::17]:8080/x", "2001:db8::17"),
        ("[fe80::1%eth0]:9100", "fe80::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("[::1]:9100", "::1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("00:1b:44:11:3a:07", "00:1b:44:11:3a:07"),
        ("büro-pc:9100", "xn--bro-pc-3ya"),
        ("BÜRO-PC", "xn--bro-pc-3ya"),
        (" web1 ", "web1"),
        ("web1\uff1a9100", "web1"),
        ("\uff57\uff45\uff42\uff11:\uff19\uff11\uff10\uff10", "web1"),
        ("web1/", "web1"),
        ("host=db7 port=5432 user=x password=secret", "db7"),
        ("Data Source=db7;User Id=sa;Password=secret", "db7"),
        ("Server=tcp:db7.example.com,1433;Password=secret", "db7.example.com"),
        ("jdbc:sqlserver://db7:1433;databaseName=x;password=secret", "db7"),
        ("jdbc:oracle:thin:scott/tiger@db7:1521:ORCL", "db7"),
        ("jdbc:oracle:thin:@//[2001:db8::17]:1521/ORCL", "2001:db8::17"),
    ],
)
def test_every_way_to_write_a_machine_is_its_one_name(written: str, machine: str) -> None:
    assert machine_of(written) == machine
    assert (
        MetricBatch.model_validate(
            {"host": written, "samples": [{"item": "a", "time_ms": 0, "value": 0}]}
        ).host
        == machine
    )


@pytest.mark.parametrize("text", ["", "%", "*", "_", "..", ":9100", "/var/run/x.sock", "://"])
def test_a_text_without_a_host_names_no_machine(text: str) -> None:
    assert machine_of(text) is None
    assert machine_for(text) == UNKNOWN
    assert machine_for(text, "web1:9100") == "web1"


def test_what_is_no_name_still_tells_machines_apart() -> None:
    texts = [
        "Rack 7 (left)",
        "Rack 7 [left]",
        "rack 8",
        "磁盘 空间",
        "内存 空间",
        "build_",
        "build-",
    ]
    texts += [
        "m" * 300,
        "m" * 301,
        "arn:aws:ec2:eu:1:instance/i-1",
        "arn:aws:ec2:eu:1:instance/i-2",
        "/subscriptions/s/resourceGroups/g/virtualMachines/vm1",
        "/subscriptions/s/resourceGroups/g/virtualMachines/vm2",
        "projects/p/zones/z/instances/vm1",
        "projects/p/zones/z/instances/vm2",
        "/container1",
        "/container2",
    ]
    names = [machine_for(text) for text in texts]
    assert len(set(names)) == len(texts)
    assert machine_for("build_:80") == machine_for("build_:9100")


def test_no_name_made_of_a_connection_string_holds_its_password() -> None:
    for text in ("user=x;Password=hunter2", "host=/run/pg user=x password=hunter2"):
        assert "hunter2" not in machine_for(text)


@given(st.text(max_size=400) | st.text(string.ascii_letters + ":.[]%/@-_ é0123456789", max_size=60))
@example("[" * 50)
@example(":1" * 200)
def test_every_name_found_can_be_carried_by_every_message_and_is_found_again(text: str) -> None:
    name = machine_for(text)
    assert TypeAdapter(HostName).validate_python(name) == name
    assert SeriesRef(host=name, item="a").host == name
    assert machine_of(name) == name
    assert 0 < len(name) <= MAX_LENGTH
    assert name.isascii()
    assert name == name.lower()


def test_an_agent_and_its_samples_have_the_same_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "WIN-1.Example.com.")
    assert AgentSettings().host == machine_of("win-1.example.com:9182")


def test_a_pattern_with_capitals_fits_the_machines_it_means() -> None:
    assert TypeAdapter(HostPattern).validate_python("WEB*") == "web*"


def test_two_pods_of_a_namespace_are_two() -> None:
    found = {machine_for(text) for text in ("prod/web1", "prod/web2", "prod/web2 ")}
    assert len(found) == 2
    assert all(name.startswith("prod-web") for name in found)
