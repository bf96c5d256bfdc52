"""The predictor: keeps a history of each series, and reports alarms that lie ahead.

Consumes: its partitions of the sample streams; curve.ask, scores.ask, settings.ask,
dead-letters.ask.
Publishes: alarm.predicted, prediction.withdrawn, curve.answered, scores.answered,
settings.answered, dead-letters.answered.
"""
