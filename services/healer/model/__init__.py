"""What the healer remembers, and the pure rules about it: incidents, actions, policy."""
