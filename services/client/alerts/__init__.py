"""Alerts and forecasts as people look at them: a read model made of events, and its drawings."""
