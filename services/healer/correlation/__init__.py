"""Correlation rules: mined from past alarms, decided by people, retired by drift."""
