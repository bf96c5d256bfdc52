"""Wiring of the client service: messaging in threads, and an HTTP server."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial

from services.client import handlers
from services.client.alerts import alerting, judgements, machines
from services.client.alerts import handlers as alerts
from services.client.alerts.model import AlertModel
from services.client.api.app import create_app
from services.client.api.uploads import Uploads
from services.client.logs import Followers, Logs
from services.client.model import ReadModel
from services.client.questions import Answer, Questions
from services.client.settings import ClientSettings
from shared.contracts import (
    ActionChanged,
    AlarmPredicted,
    AlertChanged,
    AlertingReported,
    AnomalyCleared,
    AnomalyDetected,
    AnomalyJudged,
    ClusterSpecReady,
    CorrelationChanged,
    CurveAnswered,
    DeadLettersAnswered,
    HealingSwitched,
    HealthReported,
    JobAccepted,
    JobCancelled,
    JobFailed,
    JobNotifyRefused,
    JobPending,
    JobPlanned,
    JobRemoved,
    JobRetrying,
    JobRunning,
    JobStarting,
    JobSucceeded,
    LogAppended,
    PodExited,
    PodMeasured,
    PodReported,
    PodStarted,
    PredictionWithdrawn,
    RemediationVerified,
    RequestRefused,
    ScoresAnswered,
    SeriesFound,
    SettingsAnswered,
    SilenceChanged,
    ThresholdTried,
)
from shared.service import Context, Handler, Periodic
from shared.service.http import HttpServer
from shared.service.http_service import HttpService
from shared.settings import start
from shared.storage import S3Store
from shared.store import opened

_EVENTS = (
    JobAccepted,
    JobStarting,
    JobPending,
    JobRunning,
    JobRetrying,
    JobSucceeded,
    JobFailed,
    JobCancelled,
    JobRemoved,
)
_OF_QUESTIONS = (
    SeriesFound,
    CurveAnswered,
    DeadLettersAnswered,
    ScoresAnswered,
    SettingsAnswered,
    ThresholdTried,
)
_OF_JOBS: dict[type, Handler] = {
    **dict.fromkeys(_EVENTS, handlers.job_event),
    RequestRefused: handlers.request_refused,
    JobNotifyRefused: handlers.notify_refused,
    JobPlanned: handlers.job_planned,
    PodReported: handlers.pod_reported,
    ClusterSpecReady: handlers.clusterspec_ready,
    PodStarted: handlers.pod_started,
    PodMeasured: handlers.pod_measured,
    PodExited: handlers.pod_exited,
}
_OF_ALERTS: dict[type, Handler] = {
    AlertChanged: alerts.alert_changed,
    ActionChanged: alerts.action_changed,
    RemediationVerified: alerts.remediation_verified,
    AnomalyDetected: alerts.anomaly_detected,
    AnomalyCleared: alerts.anomaly_cleared,
    AlarmPredicted: alerts.alarm_predicted,
    PredictionWithdrawn: alerts.prediction_withdrawn,
    SilenceChanged: alerting.silence_changed,
    CorrelationChanged: alerting.correlation_changed,
    AlertingReported: alerting.alerting_reported,
    HealthReported: machines.health_reported,
    HealingSwitched: machines.healing_switched,
    AnomalyJudged: judgements.anomaly_judged,
}


class Client:
    """The service and its HTTP server."""

    def __init__(self, settings: ClientSettings) -> None:
        store = opened(settings.store_url.get_secret_value())
        secret = settings.s3_secret_key.get_secret_value()
        objects = S3Store(
            settings.s3_url, settings.s3_access_key, secret, public_url=settings.s3_public_url
        )
        followers = Followers()
        model = ReadModel(store)
        alert_model = AlertModel(store)
        uploads = Uploads(objects, model, settings)
        log_appended = partial(handlers.log_appended, most=settings.log_chunks)
        listeners = _OF_JOBS | _OF_ALERTS | {LogAppended: log_appended}
        listeners |= dict.fromkeys(_OF_QUESTIONS, self._answered)
        self.service = HttpService(
            "client",
            settings,
            handlers=listeners,
            store=store,
            periodic=[
                Periodic("followers", 1.0, followers.notify),
                Periodic("uploads", 600.0, lambda: uploads.give_up_overdue(datetime.now(UTC))),
                Periodic("prune", 3600.0, lambda: model.prune(datetime.now(UTC)), eager=False),
                Periodic(
                    "prune-alerts", 60.0, lambda: alert_model.prune(datetime.now(UTC)), eager=False
                ),
            ],
        )
        logs = Logs(model, objects, settings.s3_bucket)
        publisher = self.service.publisher
        self._questions = Questions(publisher, own_dead_letters=lambda: self.service.dead_letters)
        app = create_app(
            settings, publisher, model, alert_model, objects, logs, followers, self._questions
        )
        self.http = HttpServer(app, settings.http_host, settings.http_port)
        self.service.serve(self.http)

    def _answered(self, answer: Answer, ctx: Context) -> tuple[()]:
        return self._questions.take(answer, ctx)


def main() -> int:
    """Run until a signal asks for the end; the exit status is ``settings.start``'s."""
    return start(ClientSettings, "client", _run)


def _run(settings: ClientSettings) -> None:
    Client(settings).service.run()
