"""The launcher: runs one member of a job and reports to the platform.

It alone holds credentials. It fetches and unpacks the package, holds a port, takes part in the
rendezvous, runs the program, moves its output to the object store, and uploads what the program
leaves, whatever the end.

Consumes: clusterspec.ready, pod.fenced.
Publishes: pod.reported, pod.started, log.appended, pod.measured, pod.exited.
"""
