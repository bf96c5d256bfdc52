"""What people decide: acknowledgements, approvals and the links of a mail."""
