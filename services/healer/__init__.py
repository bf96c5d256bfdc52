"""The healer: turns alarms into incidents, handles them or notifies people; and the node agent.

Consumes: anomaly.detected, anomaly.cleared, alarm.predicted, prediction.withdrawn,
evidence.collected, remediation.executed, item.observed, incident.acknowledge, action.decide,
healing.stop, healing.resume, anomaly.judge, correlation.decide, alerting.ask, job.accepted,
job.pending, job.running, job.succeeded, job.failed, job.cancelled, settings.ask,
dead-letters.ask; and its partitions of the sample streams.
Publishes: samples.publish, alert.changed, evidence.collect, remediation.execute, item.read,
remediation.verified, action.changed, healing.stop, healing.resume, healing.switched,
anomaly.judged, correlation.changed, silence.changed, alerting.reported, health.reported,
job.notify_refused, settings.answered, dead-letters.answered.

A signal changes an incident (``incidents``); the incident takes an action (``actions``) or asks
that somebody is notified (``notify``); people decide (``people``); owners of jobs hear of their
ends (``jobs``); all of it is ``model``. ``api`` and ``handlers`` are the doors for people and for
messages. A module imports only from layers below its own: api, handlers, people, incidents,
correlation, health and jobs, actions, notify, model.
"""
