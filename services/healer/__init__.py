"""The healer: alarms become incidents, each handled automatically or mailed, and its agent."""
