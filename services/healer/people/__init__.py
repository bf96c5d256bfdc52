"""People's decisions: acknowledgements, approvals and the links of a mail."""
