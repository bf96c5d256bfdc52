"""The detector: accepts samples, and reports when a series leaves its usual behaviour.

Consumes: samples.publish, anomaly.judged, series.search, curve.ask, threshold.try, settings.ask,
dead-letters.ask;
and its partitions of the sample streams.
Publishes: anomaly.detected, anomaly.cleared, request.refused, series.found, curve.answered,
threshold.tried, settings.answered, dead-letters.answered; and the sample streams.
"""
