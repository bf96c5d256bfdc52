"""Detector: takes samples in, and says when a series leaves its usual behaviour.

Consumes: samples.publish, anomaly.judged; and its partitions of the sample streams.
Publishes: anomaly.detected, anomaly.cleared, request.refused; and the sample streams.
"""
