"""One story a file, on the whole platform."""
