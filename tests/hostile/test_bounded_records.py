"""No store grows for ever: what is named by senders or written for each event has a bound."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest

import services
import shared
from services.client.alerts.cases import CASES, COUNTED_ITEMS, Case, CountedItem, Outcome, digest_of
from services.client.alerts.model import AlertModel
from services.healer.actions import scores
from services.healer.actions.scores import SCORES, Score
from services.healer.incidents import answers
from services.healer.incidents.forgetting import forget_what_is_due
from services.predictor import ledger
from services.predictor.ledger import Ledger
from shared.service import Context
from shared.store import Collection, Store
from shared.weeks import week_of

NOW, KEPT = datetime(2026, 3, 4, tzinfo=UTC), timedelta(days=30)
BOUNDED = {
    "audit": "grows by design: each decision stays, and an operator exports and archives it",
    "audit-head": "one record",
    "canary": "one record for each canary of the settings",
    "channel-failures": "the recipients of the settings; deleted when one is reached",
    "client-alerting": "one record",
    "client-ledger-items": "the items of the cases; AlertModel.prune",
    "client-log-chunks": "of each job the newest ones, and deleted with it; LOG_CHUNKS",
    "client-log-tallies": "one record for each job, deleted with it",
    "client-members": "the members of a job, deleted with it",
    "client-moments": "a bounded number for each job, deleted with it",
    "client-progress": "one record for each job, deleted with it",
    "client-usage": "one record for each member, deleted with its job",
    "clock": "one record",
    "correlation-rules": "the newest proposals, and what people decided; rules.mine",
    "fences": "the targets of one machine's allow-list",
    "halts": "the patterns of machines that people stopped",
    "inhibitions": "the rules that people accepted",
    "leases": "the targets that were ever repaired: a fence may never begin again",
    "link-keys": "one record",
    "newest-user": "one record",
    "plans": "answered and deleted within seconds",
    "storm": "one record",
    "switches": "the patterns of machines that people stopped",
    "tfjobs": "the TFJobs of the cluster; deleted with them",
    "users": "the users of the settings' range; released with their jobs",
}
"""Why the collections without an end of their own cannot grow without bound."""


def modules(root: ModuleType) -> Iterator[ModuleType]:
    for found in pkgutil.walk_packages(root.__path__, f"{root.__name__}."):
        if not found.name.endswith("__main__") and "migrations" not in found.name:
            yield importlib.import_module(found.name)


def test_each_collection_ends_its_records_or_says_why_they_are_few() -> None:
    found = {
        value.name: value
        for root in (services, shared)
        for module in modules(root)
        for value in vars(module).values()
        if isinstance(value, Collection)
    }
    endless = {name for name, collection in found.items() if collection.due is None}
    assert endless == set(BOUNDED)


@pytest.fixture
def store() -> Iterator[Store]:
    made = Store("sqlite://")
    yield made
    made.close()


def context(records: Any, now: datetime = NOW) -> Context:
    return cast("Context", SimpleNamespace(records=records, now=now))


def count(store: Store, collection: Collection[Any]) -> int:
    with store.reading() as records:
        return sum(records.count(collection).values())


def test_an_item_whose_cases_are_gone_is_forgotten(store: Store) -> None:
    def case(item: str, at: datetime) -> Case:
        values = {"host": "h", "labels": "", "series": item, "time_ms": 0, "week": week_of(0)}
        return Case(case_id=item, outcome=Outcome.HIT, item=item, received_at=at, **values)

    with store.transaction() as records:
        for number in range(50):
            item = f"made.up.{number}"
            records.put(CASES, case(item, NOW - timedelta(days=400)))
            records.put(COUNTED_ITEMS, CountedItem(item=item))
        records.put(CASES, case("cpu.idle", NOW))
        records.put(COUNTED_ITEMS, CountedItem(item="cpu.idle"))
    model = AlertModel(store)
    model.prune(NOW)
    assert count(store, COUNTED_ITEMS) == 1
    assert [item for item, _ in model.ledger.counts()] == ["cpu.idle"]
    with store.reading() as records:
        assert records.get(COUNTED_ITEMS, digest_of("cpu.idle"))


def test_made_up_items_do_not_push_out_those_that_are_counted(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scores, "MAX_SCORES", 20)

    def counted(item: str, minute: int) -> None:
        with store.transaction() as records:
            ctx = context(records, NOW + timedelta(minutes=minute))
            scores._count(cast("Any", SimpleNamespace(item=item)), ctx, "alarms")
            forget_what_is_due(KEPT, ctx)

    for minute in range(60):
        counted(f"made.up.{minute}", minute)
        counted("cpu.idle", minute)
    assert count(store, SCORES) == 20
    with store.reading() as records:
        found = records.get(SCORES, "cpu.idle")
    assert found is not None
    assert found.alarms == 60


def test_scores_of_an_earlier_version_are_read_and_forgotten_like_others(store: Store) -> None:
    with store.transaction() as records:
        records.put(SCORES, Score.model_validate({"item": "cpu.idle", "alarms": 3}))
    with store.transaction() as records:
        ctx = context(records)
        scores._count(cast("Any", SimpleNamespace(item="cpu.idle")), ctx, "alarms")
    with store.transaction() as records:
        forget_what_is_due(KEPT, context(records, NOW + timedelta(days=399)))
        assert records.get(SCORES, "cpu.idle")
        forget_what_is_due(KEPT, context(records, NOW + timedelta(days=401)))
        assert not records.get(SCORES, "cpu.idle")


def test_agents_of_machines_that_never_came_back_are_forgotten(store: Store) -> None:
    with store.transaction() as records:
        for number in range(30):
            answers.heard(f"gone-{number}", context(records, NOW - timedelta(days=91)))
        answers.heard("here", context(records))
    with store.transaction() as records:
        forget_what_is_due(KEPT, context(records))
    with store.reading() as records:
        assert [each.host for each in records.find(answers.ANSWERED)] == ["here"]


def test_the_forecasts_of_made_up_items_are_scored_in_bounded_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "MAX_ITEMS", 20)
    known = Ledger()
    for number in range(200):
        for score in (*known.judged(f"made.up.{number}", 2_900), *known.judged("cpu.idle", 2_900)):
            score.judged += 1
    assert len(known.scores) == 20
    assert set(known.weeks) == set(known.scores)
    assert known.scores["cpu.idle"].judged == 200
