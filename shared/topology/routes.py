"""The table: every message, who publishes it, who consumes it, and its routing key."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from shared import contracts as c
from shared.contracts.message import Message
from shared.topology.principals import Principal
from shared.topology.route import QueueKind, Route, Subscription

JOBS, METRICS, HEALING = "jobs", "metrics", "healing"
"""The exchanges to which only users of the platform publish."""

ALERTS, JOB_EVENTS = "alerts", "job-events"
"""Outlets: exchanges that users of the platform bind queues of their own to."""

P = Principal


def _to(*names: Principal) -> tuple[Subscription, ...]:
    return tuple(Subscription(name, f"{name}.{_FLOW[name]}") for name in names)


_FLOW = {
    P.CLIENT: "events",
    P.TASK: "jobs",
    P.AUTOSPEC: "reports",
    P.DETECTOR: "samples",
    P.HEALER: "observations",
}
_UNAWAITED = (replace(_to(P.CLIENT)[0], awaited=False),)
_SHOWN = (Subscription(P.CLIENT, "client.members"),)
_LOGS = (Subscription(P.CLIENT, "client.logs"),)
_MEASURED = (replace(_SHOWN[0], awaited=False),)
_ALERTS = (Subscription(P.CLIENT, "client.alerts", awaited=False),)
_NOTICES = (Subscription(P.HEALER, "healer.jobs", awaited=False),)
_MEMBER = (Subscription(P.MEMBER, "member.{instance}", QueueKind.EXCLUSIVE, narrowed=True),)
_AGENT = (Subscription(P.AGENT, "agent.{instance}", narrowed=True),)
_ASKERS = (P.CLIENT, P.OUTSIDE)
_KNOWING = (P.TASK, P.AUTOSPEC, P.DETECTOR, P.PREDICTOR, P.HEALER)
_ANSWERS = (Subscription(P.CLIENT, "client.answers", QueueKind.EXCLUSIVE),)


def _asked(*names: Principal) -> tuple[Subscription, ...]:
    """A queue of each replica, because any replica may know the answer."""
    return tuple(Subscription(name, f"{name}.asked", QueueKind.EXCLUSIVE) for name in names)


def _request(message: type[Message]) -> Route:
    return Route(message, _ASKERS, _to(P.TASK), inbox=JOBS)


def _job_event(message: type[Message], *more: Subscription) -> Route:
    return Route(message, (P.TASK,), (*_to(P.CLIENT), *more), outlet=JOB_EVENTS)


def _of_member(message: type[Message], *consumers: Subscription) -> Route:
    return Route(message, (P.MEMBER,), consumers, f"{message.TYPE}.{{job}}")


def _order(message: type[Message]) -> Route:
    return Route(message, (P.HEALER,), _AGENT, f"{message.TYPE}.{{host}}")


def _decision(message: type[Message]) -> Route:
    return Route(message, (P.CLIENT,), _to(P.HEALER))


def _news(message: type[Message], *consumers: Subscription, template: str = "") -> Route:
    return Route(message, (P.HEALER,), consumers, template, outlet=ALERTS)


ROUTES: tuple[Route, ...] = (
    # Jobs, in the order in which their messages flow.
    _request(c.JobSubmit),
    _request(c.JobPlan),
    _job_event(c.JobPlanned),
    _request(c.JobCancel),
    _request(c.JobRemove),
    Route(
        c.RequestRefused,
        (P.TASK, P.DETECTOR),
        _to(P.CLIENT),
        "request.refused.{request}",
        outlet=JOB_EVENTS,
    ),
    _job_event(c.JobAccepted, *_NOTICES),
    Route(c.JobNotifyRefused, (P.HEALER,), _UNAWAITED, outlet=JOB_EVENTS),
    _job_event(c.JobStarting),
    _job_event(c.JobPending, *_NOTICES),
    Route(c.RendezvousOpen, (P.TASK,), _to(P.AUTOSPEC)),
    _of_member(c.PodReported, *_to(P.AUTOSPEC), *_SHOWN),
    Route(
        c.ClusterSpecReady,
        (P.AUTOSPEC,),
        (*_MEMBER, *_to(P.TASK), *_SHOWN),
        "clusterspec.ready.{job}",
    ),
    Route(c.PodFenced, (P.AUTOSPEC,), _MEMBER, "pod.fenced.{job}"),
    Route(c.RendezvousTimedOut, (P.AUTOSPEC,), _to(P.TASK)),
    _of_member(c.PodStarted, *_to(P.TASK), *_SHOWN),
    _job_event(c.JobRunning, *_NOTICES),
    _of_member(c.LogAppended, *_LOGS),
    _of_member(c.PodMeasured, *_MEASURED),
    _of_member(c.PodExited, *_to(P.TASK), *_SHOWN),
    _job_event(c.JobRetrying),
    Route(c.RendezvousClose, (P.TASK,), _to(P.AUTOSPEC)),
    _job_event(c.JobSucceeded, *_NOTICES),
    _job_event(c.JobFailed, *_NOTICES),
    _job_event(c.JobCancelled, *_NOTICES),
    _job_event(c.JobRemoved),
    # Samples, alerts and remediations, likewise.
    Route(
        c.MetricBatch,
        (P.AGENT, P.HEALER, P.OUTSIDE),
        _to(P.DETECTOR),
        "samples.{host}",
        inbox=METRICS,
    ),
    Route(c.AnomalyDetected, (P.DETECTOR,), (*_to(P.HEALER), *_ALERTS)),
    Route(c.AnomalyCleared, (P.DETECTOR,), (*_to(P.HEALER), *_ALERTS)),
    Route(c.AlarmPredicted, (P.PREDICTOR,), (*_to(P.HEALER), *_ALERTS)),
    Route(c.PredictionWithdrawn, (P.PREDICTOR,), (*_to(P.HEALER), *_ALERTS)),
    _news(c.AlertChanged, *_ALERTS, template="alert.{state}.{severity}.{family}.{source}"),
    _order(c.EvidenceCollect),
    Route(c.EvidenceCollected, (P.AGENT,), _to(P.HEALER)),
    _order(c.RemediationExecute),
    Route(c.RemediationExecuted, (P.AGENT,), _to(P.HEALER)),
    _order(c.ItemRead),
    Route(c.ItemObserved, (P.AGENT,), _to(P.HEALER)),
    _news(c.RemediationVerified, *_ALERTS),
    # People's decisions, and their consequences.
    _decision(c.IncidentAcknowledge),
    _decision(c.ActionDecide),
    _news(c.ActionChanged, *_ALERTS),
    Route(
        c.HealingStop,
        (P.HEALER, P.OUTSIDE),
        (*_to(P.HEALER), *_AGENT),
        inbox=HEALING,
        planned=(P.CLIENT,),
    ),
    Route(c.HealingResume, (P.HEALER,), (*_to(P.HEALER), *_AGENT), planned=(P.CLIENT,)),
    _news(c.HealingSwitched, *_ALERTS),
    _decision(c.AnomalyJudge),
    Route(c.AnomalyJudged, (P.HEALER,), (*_to(P.DETECTOR), *_ALERTS)),
    _decision(c.RuleDecide),
    _news(c.CorrelationChanged, *_ALERTS),
    _news(c.SilenceChanged, *_ALERTS),
    _news(c.AlertingReported, *_ALERTS),
    _decision(c.AlertingAsk),
    _news(c.HealthReported, *_ALERTS),
    # Questions of the pages, and their answers.
    Route(c.SeriesSearch, (P.CLIENT,), _asked(P.DETECTOR)),
    Route(c.SeriesFound, (P.DETECTOR,), _ANSWERS),
    Route(c.ThresholdTry, (P.CLIENT,), _asked(P.DETECTOR)),
    Route(c.ThresholdTried, (P.DETECTOR,), _ANSWERS),
    Route(c.CurveAsk, (P.CLIENT,), _asked(P.DETECTOR, P.PREDICTOR)),
    Route(c.CurveAnswered, (P.DETECTOR, P.PREDICTOR), _ANSWERS),
    Route(c.ScoresAsk, (P.CLIENT,), _asked(P.PREDICTOR)),
    Route(c.ScoresAnswered, (P.PREDICTOR,), _ANSWERS),
    Route(c.SettingsAsk, (P.CLIENT,), _asked(*_KNOWING)),
    Route(c.SettingsAnswered, _KNOWING, _ANSWERS),
    Route(c.DeadLettersAsk, (P.CLIENT,), _asked(*_KNOWING)),
    Route(c.DeadLettersAnswered, _KNOWING, _ANSWERS),
)
"""Every message of the platform, in flow order."""

_BY_TYPE = {route.message.TYPE: route for route in ROUTES}


def route_of(message_type: type[Message]) -> Route:
    """The row of a message class; KeyError for one outside the table."""
    return _BY_TYPE[message_type.TYPE]


def may_publish(principal: Principal, message_type: type[Message]) -> bool:
    """Return whether the table lets ``principal`` publish such messages."""
    route = _BY_TYPE.get(message_type.TYPE)
    return route is not None and principal in route.publishers


def publishing_exchange(principal: Principal, route: Route) -> str:
    """The exchange ``principal`` publishes such messages to.

    No two principals share one. A queue is bound to exactly the exchanges of those who may send
    what it is for, so no trick with bindings can give a message another sender than it has.
    """
    return route.inbox if principal is P.OUTSIDE else from_exchange(principal)


def from_exchange(principal: Principal) -> str:
    """The exchange that carries everything ``principal`` publishes, and nothing else."""
    return f"from.{principal}"


def sender(exchange: str) -> Principal | None:
    """The only possible publisher of messages from ``exchange``; None if it is not in the table."""
    return _SENDERS.get(exchange)


_SENDERS = dict.fromkeys((JOBS, METRICS, HEALING), P.OUTSIDE) | {
    from_exchange(name): name for name in P if name not in (P.OUTSIDE, P.OPERATOR)
}


def sources(route: Route) -> Iterator[str]:
    """The exchanges such messages come over."""
    for publisher in route.publishers:
        yield publishing_exchange(publisher, route)


def subscriptions(principal: Principal) -> dict[str, list[Route]]:
    """Queue name (with its ``{instance}``) to the routes that end in it."""
    found: dict[str, list[Route]] = {}
    for route in ROUTES:
        for sub in route.consumers:
            if sub.principal is principal:
                found.setdefault(sub.queue, []).append(route)
    return found


def is_exclusive(queue: str, routes: Sequence[Route]) -> bool:
    """Return whether a queue of ``subscriptions`` is exclusive to one replica's connection."""
    subs = (sub for route in routes for sub in route.consumers)
    return any(sub.kind is QueueKind.EXCLUSIVE for sub in subs if sub.queue == queue)
