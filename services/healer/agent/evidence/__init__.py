"""Answers ``evidence.collect``: the causes of an alert on this machine, within limits."""

from services.healer.agent.evidence.collector import Collector

__all__ = ["Collector"]
