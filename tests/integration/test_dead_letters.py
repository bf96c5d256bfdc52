"""Dead letters can be counted, looked at and sent again."""

import dataclasses
from pathlib import Path

from prometheus_client import REGISTRY

from shared.messaging import DeadLetters
from tests.brokers import BrokerUnderTest
from tests.integration.test_runner import Pair, pair, soon, submit

__all__ = ["pair"]


def _exported(queue: str) -> float | None:
    return REGISTRY.get_sample_value("barograph_dead_letters", {"queue": queue})


def test_a_dead_letter_is_counted_shown_and_replayed(
    pair: Pair, broker: BrokerUnderTest, tmp_path: Path
) -> None:
    letters = DeadLetters(broker.url("operator"))
    letters.replay("task.jobs")
    pair.dead()
    good = pair.client.bus.prepare(submit("later"))
    future = good.headers | {"cloudEvents_type": "barograph.job.submit.v9"}
    pair.client.bus.publish_prepared([dataclasses.replace(good, headers=future)])
    soon(lambda: letters.counts().get("task.jobs") == 1, "the dead letter")

    soon(lambda: _exported("task.jobs") == 1, "its number among the metrics")

    (letter,) = letters.look("task.jobs")
    assert letter.routing_key == "job.submit"
    assert letter.reason == "job.submit version 9 is unknown; known is 1"
    soon(lambda: letters.counts()["task.jobs"] == 1, "it again: looking does not take it away")

    assert letters.replay("task.jobs", message_id="another") == 0
    soon(lambda: letters.counts()["task.jobs"] == 1, "it again: it was not the one")
    assert letters.replay("task.jobs") == 1
    soon(lambda: len(pair.refused()) == 2, "a second refusal")
