"""Actions: the safety envelope's decisions, execution, leases, audit log and ledger."""
