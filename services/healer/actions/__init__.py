"""Remediations carried out: the safety envelope's decisions, the audit and their scores."""
