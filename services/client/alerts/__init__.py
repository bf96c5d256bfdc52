"""Alerts and forecasts for people: a read model built from events, and its plots."""
