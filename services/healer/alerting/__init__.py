"""When people are told of alerts: grouped, inhibited, silenced, summarised, escalated."""
