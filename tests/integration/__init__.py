"""Real servers, one concern a file."""
