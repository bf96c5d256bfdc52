"""Apriori, the rules made of it, their life, and which metrics move with an alarm."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.healer.correlation import rules as kept
from services.healer.correlation.apriori import frequent, rules
from services.healer.correlation.association import associate, gain_ratio, statistic
from services.healer.correlation.mining import Alarm, drifted, measured, pairs, transactions
from services.healer.correlation.settings import Correlation
from services.healer.model.notification import NOTIFICATION_STATES
from services.healer.model.policy import Group
from shared.contracts import CorrelationChanged, RuleDecide, SeriesRef
from shared.contracts.correlation import RuleState
from shared.service import Context
from tests.unit.healer.test_acting import Desk
from tests.unit.healer.test_incidents import NOW, anomaly, cleared

LOAD, CPU, IO = "load.average_cpu.5min", "cpu.idle", "disk.io.util"


def check_data() -> list[set[str]]:
    """239 transactions with the supports of the article's example."""
    both, only_cpu, only_io = [{CPU, IO}] * 75, [{CPU}] * 74, [{IO}] * 59
    found = [set(t) for t in (*both, *only_cpu, *only_io)]
    for transaction in found[:60]:
        transaction.add(LOAD)
    return [*found, *({LOAD} for _ in range(5)), *({"net.if.in.usage"} for _ in range(26))]


def test_the_articles_check_data_gives_the_articles_rules() -> None:
    data = check_data()
    assert len(data) == 239
    counts = frequent(data, 0.2)
    support = {items[0]: round(n / 239, 2) for items, n in counts.items() if len(items) == 1}
    assert support == {CPU: 0.62, IO: 0.56, LOAD: 0.27}

    found = {(r.cause[0], r.effect): r for r in rules(data, 0.2, 0.5)}
    assert round(found[LOAD, CPU].confidence, 2) == 0.92
    assert round(found[IO, CPU].confidence, 2) == 0.56
    assert round(found[CPU, IO].confidence, 2) == 0.50
    assert round(found[LOAD, CPU].lift, 2) == 1.48
    # CPU is no more frequent with a busy disk than without: that is why lift is shown.
    assert found[IO, CPU].lift < 1


@given(
    st.lists(st.sets(st.sampled_from("abcdef")), min_size=1, max_size=60),
    st.floats(0.05, 1),
)
def test_it_finds_exactly_the_sets_that_counting_finds(
    data: list[set[str]], min_support: float
) -> None:
    counted = Counter(
        frozenset(items) for t in data for k in (1, 2, 3) for items in combinations(sorted(t), k)
    )
    expected = {s: n for s, n in counted.items() if n >= min_support * len(data) - 1e-9}
    found = {frozenset(items): n for items, n in frequent(data, min_support, 3).items()}
    assert found == expected


def at(seconds: float, item: str, place: str = "h1") -> Alarm:
    return Alarm(place, item, NOW + timedelta(seconds=seconds))


def test_a_transaction_is_what_alarmed_on_a_machine_within_a_window() -> None:
    alarms = [at(0, "a"), at(599, "b"), at(600, "c"), at(5, "b", "h2"), at(7, "a")]
    assert [set(t) for t in transactions(alarms, 600)] == [{"a", "b"}, {"b"}, {"c"}]


def test_the_lag_is_the_median_of_the_effects_delay() -> None:
    alarms = [a for n in range(5) for a in (at(n * 600, "a"), at(n * 600 + 30 + n, "b"))]
    (forth, back) = pairs(transactions(alarms, 600), 0.2, 0.5)
    assert {forth.cause: forth.lag_s, back.cause: back.lag_s} == {"a": 32.0, "b": -32.0}


def test_drift_is_judged_by_what_the_numbers_can_bear() -> None:
    few = transactions([at(n * 600, "a") for n in range(3)], 600)
    many = transactions([at(n * 600, "a") for n in range(30)], 600)
    assert not drifted(measured(few, "a", "b"), 3, 0.5)
    assert drifted(measured(many, "a", "b"), 30, 0.5)
    assert measured(many, "z", "b") is None


CAUSE = SeriesRef(host="host1", item="load.5min")
EFFECT = SeriesRef(host="host1", item="cpu.idle")
SETTINGS = Correlation(min_count=5, drift_causes=5, drift_days=1, min_support=0.1)


def mined(desk: Desk, *groups: Group) -> list[CorrelationChanged]:
    with desk.store.transaction() as records:
        context = Context(desk.now, "", 1, records)
        return [
            m for m in kept.mine(SETTINGS, groups, context) if isinstance(m, CorrelationChanged)
        ]


def happen(desk: Desk, number: int, *series: SeriesRef) -> None:
    for one in series:
        desk.take(anomaly(one, number))
        desk.later(20)
    desk.take(*(cleared(anomaly(one, number)) for one in series))
    desk.later(1180)


def taught(desk: Desk) -> CorrelationChanged:
    other = SeriesRef(host="host2", item="ss.closed")
    for number in range(8):
        happen(desk, number, CAUSE, EFFECT)
        happen(desk, number, other)
    found = {(m.cause, m.effect): m for m in mined(desk)}
    return found["load.5min", "cpu.idle"]


def decide(desk: Desk, rule: CorrelationChanged, *, accept: bool) -> list[CorrelationChanged]:
    message = RuleDecide(rule_id=rule.rule_id, accept=accept, by="ann", at=desk.now)
    return [m for m in desk.take(message) if isinstance(m, CorrelationChanged)]


@pytest.fixture
def desk() -> Desk:
    made = Desk({"rules": [{"level": "suggest"}]}, flapping={"start": 1000.0})
    made._table[RuleDecide] = made.handlers.decisions.rule_decide
    return made


def test_a_rule_is_proposed_once_with_all_its_numbers(desk: Desk) -> None:
    rule = taught(desk)
    assert (rule.state, rule.scope, rule.count, rule.confidence) == ("proposed", "machine", 8, 1.0)
    assert rule.lift == pytest.approx(2.0)
    assert rule.lag_s == pytest.approx(20.0)
    assert mined(desk) == []


def test_an_accepted_rule_attaches_b_to_a_and_only_a_is_told(desk: Desk) -> None:
    rule = taught(desk)
    assert decide(desk, rule, accept=True)[0].state == "accepted"
    before = len(desk.mails())
    desk.take(anomaly(CAUSE, 99))
    desk.later(20)
    desk.take(anomaly(EFFECT, 99))
    desk.later(20)
    told = desk.mails()[before:]
    assert {mail.series.item for mail in told} == {"load.5min"}
    with desk.store.transaction() as records:
        held = {s.series.item: s.cause for s in records.find(NOTIFICATION_STATES) if s.cause}
    assert list(held) == ["cpu.idle"]


def test_a_rejected_rule_and_a_rule_nobody_decided_on_attach_nothing(desk: Desk) -> None:
    rule = taught(desk)
    decide(desk, rule, accept=False)
    before = len(desk.mails())
    desk.take(anomaly(CAUSE, 99))
    desk.later(20)
    desk.take(anomaly(EFFECT, 99))
    desk.later(20)
    assert {mail.series.item for mail in desk.mails()[before:]} == {"load.5min", "cpu.idle"}
    again = [each.state for each in mined(desk) if each.rule_id == rule.rule_id]
    assert set(again) <= {RuleState.REJECTED}, "a decision stands"


def test_numbers_measured_anew_are_published_with_a_greater_sequence(desk: Desk) -> None:
    rule = taught(desk)
    happen(desk, 50, CAUSE, EFFECT)
    (anew,) = (each for each in mined(desk) if each.rule_id == rule.rule_id)
    assert (anew.state, anew.count) == ("proposed", rule.count + 1)
    assert anew.sequence > rule.sequence
    assert mined(desk) == []


def test_a_proposal_that_is_forgotten_is_retired_and_newer_when_it_is_made_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = taught(desk)
    monkeypatch.setattr(kept, "_MAX_PROPOSED", 0)
    gone = [each for each in mined(desk) if each.rule_id == first.rule_id]
    assert [each.state for each in gone] == ["retired"]
    monkeypatch.undo()
    desk.later(60)
    (again,) = (each for each in mined(desk) if each.rule_id == first.rule_id)
    assert (again.state, again.sequence > gone[0].sequence) == ("proposed", True)


def test_an_accepted_rule_that_no_longer_holds_is_retired_with_the_reason(desk: Desk) -> None:
    rule = taught(desk)
    decide(desk, rule, accept=True)
    desk.later(2 * 86_400)
    for number in range(100, 110):
        happen(desk, number, CAUSE)
    (retired,) = [m for m in mined(desk) if m.state is RuleState.RETIRED]
    assert retired.rule_id == rule.rule_id
    assert "followed 0 times only" in retired.reason
    before = len(desk.mails())
    desk.take(anomaly(CAUSE, 199))
    desk.take(anomaly(EFFECT, 199))
    desk.later(20)
    told = {line.series.item for m in desk.mails()[before:] for line in m.lines()}
    assert told == {"load.5min", "cpu.idle"}


def test_in_a_group_a_cause_on_one_machine_explains_an_effect_on_another(desk: Desk) -> None:
    far = EFFECT.model_copy(update={"host": "host7"})
    other = SeriesRef(host="host3", item="ss.closed")
    for number in range(8):
        happen(desk, number, CAUSE, far)
        happen(desk, number, other)
    group = Group(name="rack", hosts="host*")
    found = {(m.scope, m.cause, m.effect): m for m in mined(desk, group)}
    rule = found["rack", "load.5min", "cpu.idle"]
    assert ("machine", "load.5min", "cpu.idle") not in found
    decide(desk, rule, accept=True)
    before = len(desk.mails())
    desk.take(anomaly(CAUSE, 99))
    desk.later(20)
    desk.take(anomaly(far, 99))
    desk.later(20)
    assert {m.series.item for m in desk.mails()[before:]} == {"load.5min"}


def noise(size: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=size)


def test_a_metric_that_moves_before_the_alarm_is_found_among_a_hundred_that_do_not() -> None:
    size, alarms = 5000, list(range(100, 4900, 80))
    metrics = {f"noise.{n}": noise(size, n) for n in range(100)}
    metrics["cause"] = noise(size, 1000)
    metrics["ramp"] = noise(size, 1001)
    for alarm in alarms:
        metrics["cause"][alarm - 5 : alarm] += 3
        metrics["ramp"][alarm - 5 : alarm] += np.arange(5) * 1.5
    found = associate(metrics, alarms)
    assert {r.metric for r in found[:2]} == {"cause", "ramp"}
    wrong = sum(r.related for r in found if r.metric.startswith("noise"))
    assert wrong <= 12, "about one in forty by chance"


def test_by_chance_it_says_related_as_rarely_as_it_promises() -> None:
    random = np.random.default_rng(7)
    z = [
        statistic(random.normal(size=(60, 5)), random.normal(size=(60, 5)), 10) for _ in range(400)
    ]
    assert np.mean(np.array(z) > 1.96) < 0.06
    assert abs(float(np.mean(z))) < 0.35


def test_a_daily_rhythm_alone_is_no_relation() -> None:
    size, random = 20_000, np.random.default_rng(3)
    rhythm = np.sin(np.arange(size) / 288 * 2 * np.pi) + 0.1 * random.normal(size=size)
    alarms = sorted(random.choice(np.arange(10, size), 80, replace=False).tolist())
    (found,) = associate({"rhythm": rhythm}, alarms)
    assert not found.related


def test_gaps_few_alarms_and_constant_metrics_are_answered_calmly() -> None:
    holes = noise(500, 1)
    holes[::3] = np.nan
    found = associate({"holes": holes, "flat": np.ones(500), "none": np.full(500, np.nan)}, [3, 50])
    assert not any(r.related for r in found)
    assert associate({}, [1]) == []
    with pytest.raises(ValueError, match="different lengths"):
        associate({"a": np.ones(3), "b": np.ones(4)}, [])


def test_the_gain_ratio_is_one_for_a_perfect_split_and_none_for_a_constant() -> None:
    labels = np.array([True] * 10 + [False] * 10)
    assert gain_ratio(np.where(labels, 1.0, 0.0), labels) == pytest.approx(1.0)
    assert gain_ratio(np.ones(20), labels) == 0.0
