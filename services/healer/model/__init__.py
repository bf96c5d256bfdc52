"""The healer's records, and the pure rules about them: incidents, actions, policy."""
