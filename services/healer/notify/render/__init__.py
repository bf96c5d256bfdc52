"""Renders notifications as text, mail, tables and plots."""
