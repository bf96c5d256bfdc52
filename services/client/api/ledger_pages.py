"""The ledger's page: how predictions turned out, what actions achieved, and every case."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import HTMLResponse

from services.client.alerts.cases import OF_ACTIONS, OF_PREDICTIONS, Outcome
from services.client.alerts.ledger import Wanted, by_item, lines
from services.client.api.dependencies import Client, Provided
from services.client.api.faults import refusal
from services.client.api.paging import address, neighbours
from services.client.questions import TooManyQuestions
from services.client.series.addresses import way_of
from shared.contracts import ForecastScore
from shared.messaging import BrokerUnavailable
from shared.weeks import week_numbered

_PAGE, _MAX_LINES = 50, 400
_Item = Annotated[str, Query(max_length=300)]
routes = APIRouter(include_in_schema=False)


@routes.get("/ledger")
def ledger(client: Provided, item: _Item = "") -> HTMLResponse:
    scores, complete = _scores(client)
    counts = client.alerts.ledger.counts()
    every = lines(counts, scores)
    actions: Counter[Outcome] = sum(counts.values(), Counter())
    of_weeks = [line for line in every if not item or line.item == item]
    of_weeks.sort(key=lambda line: line.week, reverse=True)
    return client.page(
        "ledger.html",
        here="ledger",
        item=item,
        actions=[(outcome, actions[outcome], _way(outcome)) for outcome in OF_ACTIONS],
        items=[(line, _ways(line.item, "")) for line in by_item(every)],
        weeks=[(line, _ways(line.item, line.week)) for line in of_weeks[:_MAX_LINES]],
        complete=complete,
        cut=len(of_weeks) > _MAX_LINES,
    )


@routes.get("/ledger/cases")
def cases(
    client: Provided,
    outcome: Outcome,
    item: _Item = "",
    week: Annotated[str, Query(pattern=r"^(\d{4}-W\d{2})?$")] = "",
    offset: Annotated[int, Query(ge=0, le=1_000_000)] = 0,
) -> HTMLResponse:
    try:
        number = week_numbered(week) if week else None
    except ValueError:
        raise refusal(422, "there is no such week", "week") from None
    wanted = Wanted(outcome, item, number)
    found = client.alerts.ledger.cases(wanted, _PAGE + 1, offset)
    asked = {"outcome": str(outcome), "item": item, "week": week}
    return client.page(
        "cases.html",
        here="ledger",
        outcome=outcome,
        item=item,
        week=week,
        cases=[(listed, way_of(listed.case)) for listed in found[:_PAGE]],
        **neighbours("/ledger/cases", asked, offset, _PAGE, more=len(found) > _PAGE),
    )


def _scores(client: Client) -> tuple[list[ForecastScore], bool]:
    """Return the predictor's scores, and whether every partition has answered."""
    try:
        answers = client.questions.scores()
    except (BrokerUnavailable, TooManyQuestions):
        return [], False
    partitions = {answer.partition for answer in answers}
    whole = bool(answers) and len(partitions) >= answers[0].partitions
    return [score for answer in answers for score in answer.scores], whole


def _ways(item: str, week: str) -> dict[str, str]:
    return {outcome.value: _way(outcome, item, week) for outcome in OF_PREDICTIONS}


def _way(outcome: Outcome, item: str = "", week: str = "") -> str:
    asked = {"outcome": outcome.value, "item": item, "week": week}
    return address("/ledger/cases", asked)
