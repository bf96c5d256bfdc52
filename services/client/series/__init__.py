"""Series: found by name, and shown as their models see them."""
