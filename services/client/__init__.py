"""The users' entry point: HTTP API, web pages and ``tshell``.

Consumes: job.accepted, job.starting, job.pending, job.running, job.retrying, job.succeeded,
job.failed, job.cancelled, job.removed, job.planned, job.notify_refused, request.refused,
pod.reported, clusterspec.ready, pod.started, pod.measured, pod.exited, log.appended,
alert.changed, action.changed, remediation.verified, anomaly.detected, anomaly.cleared,
alarm.predicted, prediction.withdrawn, correlation.changed, silence.changed, alerting.reported,
series.found, curve.answered, threshold.tried, scores.answered, settings.answered,
dead-letters.answered, health.reported, healing.switched, anomaly.judged.
Publishes: job.submit, job.plan, job.cancel, job.remove, incident.acknowledge, action.decide,
anomaly.judge, correlation.decide, alerting.ask, series.search, curve.ask, threshold.try,
scores.ask, settings.ask, dead-letters.ask.

Requests become messages; what is shown is a read model made of events.
"""
