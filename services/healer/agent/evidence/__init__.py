"""Answers ``evidence.collect``: what on this machine causes an alert, within bounds."""

from services.healer.agent.evidence.collector import Collector

__all__ = ["Collector"]
