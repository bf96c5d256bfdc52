"""Rendezvous: members report their addresses, and autospec publishes the ClusterSpec to them.

Consumes: rendezvous.open, pod.reported, rendezvous.close, settings.ask,
dead-letters.ask.
Publishes: clusterspec.ready, pod.fenced, rendezvous.timed-out, settings.answered,
dead-letters.answered.
"""
