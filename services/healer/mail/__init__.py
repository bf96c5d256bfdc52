"""The mail a person receives about an alarm."""
