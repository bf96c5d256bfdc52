"""Examples: programs that run as jobs, and the demonstration of the whole platform."""
