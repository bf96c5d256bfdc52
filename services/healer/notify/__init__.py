"""Notification: grouping, silences, inhibition, flapping, storms, delivery through channels."""
