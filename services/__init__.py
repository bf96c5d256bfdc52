"""The six services of Barograph; each is a package that runs as ``python -m services.<name>``."""
