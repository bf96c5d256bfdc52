"""Any series: found by its name, and shown as its models see it."""
