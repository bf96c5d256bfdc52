"""The healer: alarms become incidents, each handled automatically or mailed, and its agent.

A signal changes an incident (``incidents``); the incident takes an action (``actions``) or asks
that somebody is notified (``notify``); people decide (``people``); all of it is ``model``. ``api``
and ``handlers`` are the doors for people and for messages. A module imports only from layers
below its own: api, handlers, people, incidents, correlation and health, actions, notify, model.
"""
