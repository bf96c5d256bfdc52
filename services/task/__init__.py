"""The lifecycle of jobs: accept, start, watch, retry, end, clean up.

Consumes: job.submit, job.plan, job.cancel, job.remove, clusterspec.ready, rendezvous.timed-out,
pod.started, pod.exited, settings.ask, dead-letters.ask.
Publishes: job.planned, job.accepted, job.starting, job.pending, job.running, job.retrying,
job.succeeded, job.failed, job.cancelled, job.removed, request.refused, rendezvous.open,
rendezvous.close, settings.answered,
dead-letters.answered.

Handlers decide and record; only the reconciler acts on the runtime, until both agree. So the
service may be killed at any instruction.
"""
