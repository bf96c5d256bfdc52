"""Detector: takes samples in, and says when a series leaves its usual behaviour.

Consumes: ``samples.publish`` (queue detector.samples); its partitions of the sample streams.
Publishes: the sample streams; ``anomaly.detected``, ``anomaly.cleared``; ``request.refused``.
"""
