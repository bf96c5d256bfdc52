"""Rendezvous: containers report where they listen, autospec pushes the ClusterSpec to all.

Consumes: rendezvous.open, pod.reported, rendezvous.close, settings.ask.
Publishes: clusterspec.ready, pod.fenced, rendezvous.timed-out, settings.answered.
"""
