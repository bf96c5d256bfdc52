"""Which alerts are notified when and through what: groups, silences, inhibition, delivery."""
