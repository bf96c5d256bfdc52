"""Detector: takes samples in, and says when a series leaves its usual behaviour.

Consumes: samples.publish, anomaly.judged, series.search, curve.ask, settings.ask; and its
partitions of the sample streams.
Publishes: anomaly.detected, anomaly.cleared, request.refused, series.found, curve.answered,
settings.answered; and the sample streams.
"""
