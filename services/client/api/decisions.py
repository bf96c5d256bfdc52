"""Decisions that people make on the pages, published as messages in their name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path
from fastapi.responses import Response

from services.client.alerts.model import AlertModel
from services.client.alerts.records import AlertView
from services.client.api.dependencies import Client, Provided
from services.client.api.faults import refusal
from services.client.api.forms import Form, SentForm
from shared.contracts import ActionDecide, AnomalyJudge, IncidentAcknowledge, Message, RuleDecide

_MAX_ALERTS = 100
Id = Annotated[str, Path(max_length=36, pattern=r"^[0-9a-f-]{36}$")]
routes = APIRouter(include_in_schema=False)


def _publish(
    client: Client, form: Form, message_of: Callable[[AlertView], Message], *, ended: bool
) -> Sequence[AlertView]:
    chosen = of_alerts(client.alerts, form)
    if not ended:
        chosen = [each for each in chosen if each.is_open]
    if not chosen:
        raise refusal(422, "choose alerts that have not ended")
    client.publisher.publish([message_of(each) for each in chosen])
    return chosen


@routes.post("/alerts/acknowledge")
def acknowledge(client: Provided, form: SentForm) -> Response:
    _publish(
        client, form, lambda a: IncidentAcknowledge(alert_id=a.alert_id, by=form.by), ended=False
    )
    return form.back("acknowledge", "/alerts")


@routes.post("/alerts/judge")
def judge(client: Provided, form: SentForm) -> Response:
    anomaly = form.text("anomaly") == "yes"
    said = {"by": form.by, "reason": form.text("reason"), "at": datetime.now(UTC)}

    def judged(alert: AlertView) -> AnomalyJudge:
        told = said | {"alert_id": alert.alert_id, "anomaly": anomaly}
        return AnomalyJudge.model_validate(told)

    for alert in _publish(client, form, judged, ended=True):
        client.alerts.judgements.take(alert, judged(alert))
    return form.back("judge-back" if anomaly else "judge", "/alerts")


@routes.post("/actions/{action_id}/{decision}")
def decide(
    client: Provided, action_id: Id, decision: Literal["approve", "refuse"], form: SentForm
) -> Response:
    decision_made = ActionDecide(
        action_id=action_id,
        approve=decision == "approve",
        by=form.by,
        reason=form.text("reason"),
    )
    client.publisher.publish([decision_made])
    return form.back(decision, "/")


@routes.post("/rules/{rule_id}/{decision}")
def rule(
    client: Provided, rule_id: Id, decision: Literal["accept", "reject"], form: SentForm
) -> Response:
    decided = RuleDecide(
        rule_id=rule_id,
        accept=decision == "accept",
        by=form.by,
        reason=form.text("reason"),
        at=datetime.now(UTC),
    )
    client.publisher.publish([decided])
    return form.back("rule", "/rules")


def of_alerts(alerts: AlertModel, form: Form) -> Sequence[AlertView]:
    """The alerts a form names.

    Raises:
        Refusal: when it names none that is known, or too many.
    """
    named = form.fields.get("alert", [])
    if len(named) > _MAX_ALERTS:
        raise refusal(422, f"at most {_MAX_ALERTS} alerts at once", "alert")
    found = alerts.known(named)
    if not found:
        raise refusal(422, "choose at least one alert that is known", "alert")
    return found
