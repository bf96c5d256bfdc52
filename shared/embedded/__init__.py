"""Servers started for you on one machine: broker, object store, mailbox, and their supervisor.

Everything listens on loopback only, keeps its files under one state directory, and stops with
the process that started it, however that process ends.
"""
