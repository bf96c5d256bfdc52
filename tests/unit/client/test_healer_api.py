"""The client's questions to a healer that hangs: pages wait for one of them, and for no other."""

from __future__ import annotations

import threading

import httpx
import pytest

from services.client.healer_api import HealerApi, HealerUnavailable
from services.client.settings import ClientSettings
from tests.waiting import eventually


class Healer:
    """What is behind the connection: it hangs, or it answers once it is let to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hangs, self.let = True, threading.Event()

    def request(self, _method: str, address: str, **_options: object) -> httpx.Response:
        self.asked.append(threading.current_thread().name)
        if threading.current_thread().name == "healer-probe":
            self.let.wait()
        if self.hangs:
            raise httpx.ReadTimeout("no answer in time")
        return httpx.Response(200, json={"of": address.rpartition("/")[2]})


@pytest.fixture
def healer() -> Healer:
    return Healer()


@pytest.fixture
def api(healer: Healer, monkeypatch: pytest.MonkeyPatch) -> HealerApi:
    told = {"healer_url": "http://healer.example", "healer_token": "x"}
    made = HealerApi(ClientSettings.model_validate(told))
    monkeypatch.setattr(made._http, "request", healer.request)
    return made


def hangs(api: HealerApi) -> bool:
    try:
        api.glance("reachability")
    except HealerUnavailable:
        return True
    return False


def probes(healer: Healer) -> int:
    return healer.asked.count("healer-probe")


def test_one_page_waits_for_a_healer_that_hangs_and_the_others_do_not(
    api: HealerApi, healer: Healer
) -> None:
    assert [hangs(api) for _ in range(20)] == [True] * 20
    eventually(lambda: probes(healer) == 1, "the probe")
    assert len(healer.asked) == 2, "one page asked, and one probe beside the others"
    healer.let.set()
    eventually(lambda: hangs(api) and probes(healer) > 1, "another probe, as it still hangs")
    healer.hangs = False
    eventually(lambda: not hangs(api), "its answers on the pages again")
    assert api.glance("reachability") == {"of": "reachability"}


def test_a_decision_is_sent_however_it_answered_before(api: HealerApi, healer: Healer) -> None:
    assert hangs(api)
    healer.hangs = False
    assert api.get("silences") == {"of": "silences"}


@pytest.mark.parametrize("status", [400, 500])
def test_a_healer_that_refuses_or_fails_does_not_hang(
    api: HealerApi, monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    answers = [httpx.Response(status, json={"detail": "no"}), httpx.Response(200, json={})]
    monkeypatch.setattr(api._http, "request", lambda *_, **__: answers.pop(0))
    with pytest.raises(Exception, match=r"no|500"):
        api.glance("reachability")
    assert api.glance("reachability") == {}
