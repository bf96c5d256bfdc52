"""The users' door: HTTP API, web page and ``tshell``.

Consumes: job.accepted, job.starting, job.running, job.retrying, job.succeeded, job.failed,
job.cancelled, job.removed, request.refused, log.appended.
Publishes: job.submit, job.cancel, job.remove.

Requests become messages; what is shown is a read model made of events.
"""
