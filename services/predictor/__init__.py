"""Predictor: keeps a history per series, and says when an alarm lies ahead.

Consumes: its partitions of the sample streams; curve.ask, settings.ask.
Publishes: alarm.predicted, prediction.withdrawn, curve.answered, settings.answered.
"""
