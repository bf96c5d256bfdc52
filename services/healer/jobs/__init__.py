"""Notifications about jobs that have ended or wait too long."""
