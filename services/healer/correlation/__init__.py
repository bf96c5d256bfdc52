"""Which alarms go together: rules found in what happened, decided by people, dropped by drift."""
